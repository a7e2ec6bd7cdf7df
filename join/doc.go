// Package join joins streams with tables: each record of a stream gets the row of
// a replicated table that it names, at stream speed, without a network hop.
//
//	enriched := join.Inner(readings, devices,
//		func(r stream.Record[string, Reading]) (string, bool) { return r.Value.Device, r.Value.Device != "" },
//		func(r stream.Record[string, Reading], d globaltable.Entry[string, Device]) (Alert, error) {
//			return Alert{Room: d.Value.Room, Celsius: r.Value.Celsius}, nil
//		})
package join
