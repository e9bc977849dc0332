"""The writer from elsewhere: a service steered by the verbs that acquisition scripts use."""
