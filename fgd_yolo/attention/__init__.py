"""Pictures of what distillation attends to: the paper's figures on the user's own images and models."""
