"""What tests share: builders, fakes of other systems, and one driver of the chain."""
