"""restate-server: installed, started, adopted, stopped; the cluster; the APIs."""
