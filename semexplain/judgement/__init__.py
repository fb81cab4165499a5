"""Whether explanations are true: four statements, each with an interval, and the verdict that follows from them."""
