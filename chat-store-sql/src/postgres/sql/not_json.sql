SELECT {ns}_not_json($1)
