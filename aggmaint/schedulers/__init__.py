"""Schedulers: adapters of `aggmaint.scheduler.Scheduler`. Import the one you need by its path."""
