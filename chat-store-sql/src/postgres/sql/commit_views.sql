SELECT {ns}_commit_views($1, $2, $3, $4, $5, $6, $7)
