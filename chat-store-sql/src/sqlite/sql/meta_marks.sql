SELECT key FROM {ns}_meta WHERE key GLOB ?1 AND value <> ?2
