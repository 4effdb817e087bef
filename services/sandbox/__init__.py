"""The sandbox service: runs programs and sessions of calls that nobody trusts. It executes and reports, never judges."""
