SELECT coalesce((SELECT max(position) FROM {ns}_events), 0),
       coalesce((SELECT max(id) FROM {ns}_streams), 0),
       coalesce((SELECT max(id) FROM {ns}_view_checkpoints), 0)
