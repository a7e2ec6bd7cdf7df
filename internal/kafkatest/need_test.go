package kafkatest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecide(t *testing.T) {
	unavailable := fmt.Errorf("%w: no java", errUnavailable)
	broken := errors.New("kafkatest: broker 1 is not ready")
	for _, tc := range []struct {
		name            string
		short, required bool
		err             error
		want            verdict
		why             string
	}{
		{"plain", false, false, nil, verdictRun, ""},
		{"required", false, true, nil, verdictRun, ""},
		{"short", true, false, nil, verdictSkip, "-short"},
		{"short but required", true, true, nil, verdictRun, ""},
		{"unavailable", false, false, unavailable, verdictSkip, "no java"},
		{"unavailable but required", false, true, unavailable, verdictFail, "ENRICH_REQUIRE_KAFKA=1"},
		{"short, unavailable but required", true, true, unavailable, verdictFail, "no java"},
		{"broken", false, false, broken, verdictFail, "not ready"},
		{"broken and required", false, true, broken, verdictFail, "not ready"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, why := decide(tc.short, tc.required, tc.err)
			require.Equal(t, tc.want, got)
			require.Contains(t, why, tc.why)
			require.Equal(t, tc.want == verdictRun, why == "", "every other verdict gives its reason")
		})
	}
}

// recorder is a test which remembers how it was ended. Like a real one it ends
// by a panic that runs no further code of the test.
type recorder struct {
	testing.TB
	skipped, failed string
}

type testEnded struct{}

func (*recorder) Helper() {}

func (r *recorder) Skip(args ...any) {
	r.skipped = fmt.Sprint(args...)
	panic(testEnded{})
}

func (r *recorder) Fatal(args ...any) {
	r.failed = fmt.Sprint(args...)
	panic(testEnded{})
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// run calls fn and tells whether it came to its end.
func (r *recorder) run(fn func()) (finished bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(testEnded); !ok {
				panic(p)
			}
		}
	}()
	fn()
	return true
}

func TestObtainSkipsWhereUnavailable(t *testing.T) {
	t.Setenv(envRequire, "")
	if testing.Short() {
		t.Skip("-short skips before anything is obtained")
	}
	r := &recorder{TB: t}
	require.False(t, r.run(func() {
		obtain(r, func() (int, error) { return 0, fmt.Errorf("%w: no java", errUnavailable) })
	}))
	require.Contains(t, r.skipped, "no java")
	require.Empty(t, r.failed)
}

func TestObtainFailsWhereRequired(t *testing.T) {
	t.Setenv(envRequire, "1")
	r := &recorder{TB: t}
	require.False(t, r.run(func() {
		obtain(r, func() (int, error) { return 0, fmt.Errorf("%w: no java", errUnavailable) })
	}))
	require.Contains(t, r.failed, "no java")
	require.Empty(t, r.skipped)
}

func TestObtainFailsOnBrokenBroker(t *testing.T) {
	t.Setenv(envRequire, "1") // otherwise -short would skip
	r := &recorder{TB: t}
	require.False(t, r.run(func() {
		obtain(r, func() (int, error) { return 0, errors.New("did not start") })
	}))
	require.Contains(t, r.failed, "did not start")
}

func TestObtainReturnsWhatItGot(t *testing.T) {
	t.Setenv(envRequire, "1")
	r := &recorder{TB: t}
	require.True(t, r.run(func() {
		require.Equal(t, 7, obtain(r, func() (int, error) { return 7, nil }))
	}))
}
