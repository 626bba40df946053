// What is asked of every answer: how probable a label must be to be given.

const $ = (id) => document.getElementById(id);

export function abstainBelow() {
  const value = Number($("abstain").value);
  return Math.min(Math.max(value || 0, 0), 100) / 100;
}

export const percent = (p) => `${(100 * p).toFixed(1)}%`;

// Shown in the place of the label where none is given.
export const NONE = "No label";
