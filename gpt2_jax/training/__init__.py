"""From pretrained params and labelled texts to a trained run."""
