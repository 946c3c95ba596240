"""Memory, time and bandwidth of training in few bits, counted and measured; quality is told in judging."""
