package main

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/globaltable/enrich/globaltable"
)

// enrichOpts are the options that a job asks for.
func enrichOpts(j job, s *settling) []globaltable.Opt {
	opts := []globaltable.Opt{
		globaltable.Brokers(j.Brokers...), globaltable.Dir(j.Dir),
		globaltable.Pebble(func(o *pebble.Options) {
			o.EventListener = s.listener()
			if j.BlockCache > 0 {
				o.Cache, o.CacheSize = nil, j.BlockCache
			}
		}),
	}
	if j.Budget > 0 {
		opts = append(opts, globaltable.MemoryBudget(j.Budget))
	}
	return opts
}
