"""One file a stage; ``pipeline.stage_list`` puts them in order."""
