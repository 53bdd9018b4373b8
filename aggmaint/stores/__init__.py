"""Job stores: adapters of `aggmaint.store.JobStore`. Import the one you need by its path."""
