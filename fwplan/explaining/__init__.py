"""Why: what is said of a run, its comments and its difference to another; what this machine lacks; a log's shortage."""
