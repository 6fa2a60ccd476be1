"""Other load balancers' files -> a spec: parse -> Found -> settle -> text; only `files` reads."""
