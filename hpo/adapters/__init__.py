"""Reports, states and predictions of other libraries' training loops, one file a library; each is an extra of `hpo`."""
