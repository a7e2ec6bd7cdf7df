//go:build race

package globaltable

const raceEnabled = true
