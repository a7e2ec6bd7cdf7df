package globaltable

// What tests outside the package use of its inside.

// RaceEnabled says that the race detector is on.
const RaceEnabled = raceEnabled

// BulkOf is bulkOf.
func BulkOf(from int64, chunkBytes int) Opt { return bulkOf(from, chunkBytes) }
