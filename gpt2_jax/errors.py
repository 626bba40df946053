"""Errors that a user can act on, and the exit code that each one means."""

from __future__ import annotations


class UserError(Exception):
    """What is wrong, where, and what to do, in one line."""

    exit_code = 2


class DeviceError(UserError):
    """A device, or the environment, cannot do what was asked."""

    exit_code = 3


class DataError(UserError):
    """The labelled texts cannot be had, read or used."""

    exit_code = 4


class WeightsError(UserError):
    """Weights, a checkpoint or a trained run cannot be had, read or used."""

    exit_code = 5


class NonFiniteError(UserError):
    """The loss, or what trains, has become NaN or infinite."""

    exit_code = 5
