"""What pages of trainings of any family share: the reader of their files, the section about them, curves over their steps."""
