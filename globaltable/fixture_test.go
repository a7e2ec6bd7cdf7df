package globaltable

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// fixtureEnv has TestWriteFixture write a store of this release to the directory
// that it names.
const fixtureEnv = "ENRICH_WRITE_FIXTURE"

const fixtureTopic = "devices"

// fixtureRows are what each store holds, and fixturePairs how that came about.
func fixtureRows() map[string]string {
	m := map[string]string{}
	fold(m, records(fixtureTopic, fixturePairs()...))
	return m
}

func fixturePairs() []string {
	ps := append(numbered("dev", 0, 200), "=empty key", "\xff=high key", "empty value=")
	for i := range 50 {
		ps = append(ps, fmt.Sprintf("dev%d", i*4)) // deleted
	}
	return append(ps, "dev8=written again")
}

// TestStoresOfEarlierReleases opens a store of each format and reads its rows and
// positions, without a broker.
func TestStoresOfEarlierReleases(t *testing.T) {
	stores, err := filepath.Glob("testdata/store-format-*")
	require.NoError(t, err)
	require.NotEmpty(t, stores)
	for _, store := range stores {
		t.Run(filepath.Base(store), func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(store)))
			tb, err := Open(fixtureTopic, codec.String(), codec.String(), Brokers("127.0.0.1:1"), Dir(dir), AllowStale(math.MaxInt64), Logger(testLog(t)))
			require.NoError(t, err)
			e := &env{t: t, topic: fixtureTopic, want: fixtureRows()}
			r := e.run(tb)
			r.until("it answers", func() bool { _, _, err := r.Get("dev1"); return err == nil })
			e.holds(r)
			var read int64
			for _, p := range r.Positions() {
				read += p.Offset
			}
			require.EqualValues(t, len(fixturePairs()), read)
			entry, ok, err := r.GetEntry("dev8")
			require.NoError(t, err)
			require.True(t, ok)
			require.WithinRange(t, entry.Timestamp, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Now())
			r.close()
		})
	}
}

// TestWriteFixture writes a store for the test above.
func TestWriteFixture(t *testing.T) {
	dir := os.Getenv(fixtureEnv)
	if dir == "" {
		t.Skip("it writes a store of this release to the directory that " + fixtureEnv + " names")
	}
	b := kafkatest.Fake(t)
	compact := "compact"
	e := &env{t: t, broker: b, topic: fixtureTopic, want: map[string]string{}}
	_, err := b.Admin(t).CreateTopic(t.Context(), 2, -1, map[string]*string{"cleanup.policy": &compact}, fixtureTopic)
	require.NoError(t, err)
	b.AwaitTopic(t, fixtureTopic, 2)
	all := fixturePairs()
	e.put(all[:150]...)
	e.ready(Dir(dir)).close()
	e.put(all[150:]...)
	r := e.ready(Dir(dir))
	e.holds(r)
	r.close()
}
