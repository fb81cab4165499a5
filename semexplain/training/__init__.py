"""What is trained: explainers by distillation, performers by labels."""
