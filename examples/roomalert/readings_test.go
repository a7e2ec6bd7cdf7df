package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestReadReadings(t *testing.T) {
	got, err := readReadings("r.csv", strings.NewReader("2017-09-18T09:00:49.012054,5C:CF:7F:33:F7:F8,74.78,58.66\r\n2017-09-18T11:00:50+02:00,b,-4,0\n"))
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, "5C:CF:7F:33:F7:F8", got[0].Device)
	require.Equal(t, at("2017-09-18T09:00:49.012054Z"), got[0].Time)
	require.Equal(t, 74.78, got[0].TempF)
	require.Equal(t, 58.66, *got[0].Humidity)
	require.Equal(t, at("2017-09-18T09:00:50Z"), got[1].Time)
	require.InDelta(t, -20, got[1].celsius(), 1e-12)

	b, err := json.Marshal(got[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"device":"5C:CF:7F:33:F7:F8","time":"2017-09-18T09:00:49.012054Z","temp_f":74.78,"humidity":58.66}`, string(b))
	back, err := decodeReading(b)
	require.NoError(t, err)
	require.Equal(t, got[0], back)
}

func TestBrokenReadingRowsAreNamed(t *testing.T) {
	const good = "2017-09-18T09:00:49.012054,a,74.78,58.66\n"
	for name, c := range map[string]struct{ file, want string }{
		"empty file":      {"\n\n", "r.csv holds no reading"},
		"missing field":   {good + "2017-09-18T09:00:49,a,74.78\n", `r.csv:2: want 4 fields (time,device,temperature in °F,humidity in %), found 3: "2017-09-18T09:00:49,a,74.78"`},
		"header":          {"time,device,temp,rh\n", `r.csv:1: time "time" is not like 2017-09-18T09:00:49.012054`},
		"bad time":        {good + "\n18.9.2017 09:00,a,1,2\n", `r.csv:3: time "18.9.2017 09:00" is not like 2017-09-18T09:00:49.012054`},
		"before Kafka":    {"1969-12-31T23:59:59,a,1,2\n", "r.csv:1: time 1969-12-31T23:59:59Z is not between 1970 and 9999, as a Kafka timestamp has to be"},
		"no device":       {"2017-09-18T09:00:49,,1,2\n", "r.csv:1: device is empty"},
		"control":         {"2017-09-18T09:00:49,\"a\nb\",1,2\n", `r.csv:1: device "a\nb" holds a control character or is not UTF-8`},
		"bad temperature": {good + "2017-09-18T09:00:49,a,7O.2,2\n", `r.csv:2: temperature "7O.2" is not a number`},
		"no temperature":  {good + "2017-09-18T09:00:49,a,,2\n", `r.csv:2: temperature "" is not a number`},
		"NaN":             {good + "2017-09-18T09:00:49,a,nan,2\n", `r.csv:2: temperature "nan" is not a number`},
		"huge":            {"2017-09-18T09:00:49,a,1e300,2\n", `r.csv:1: temperature 1e+300 is no temperature`},
		"bad humidity":    {"2017-09-18T09:00:49,a,1,dry\n", `r.csv:1: humidity "dry" is not a number`},
		"stray quote":     {good + "2017-09-18T09:00:49,a\"b,1,2\n", `r.csv:2: bare " in non-quoted-field`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readReadings("r.csv", strings.NewReader(c.file))
			require.EqualError(t, err, c.want)
		})
	}
}

func TestDecodeReadingOfOthers(t *testing.T) {
	r, err := decodeReading([]byte(`{"device":"a","time":"2026-01-01T01:00:00+01:00","temp_f":50,"more":true}`))
	require.NoError(t, err)
	require.Equal(t, Reading{Device: "a", Time: at("2026-01-01T00:00:00Z"), TempF: 50}, r)

	for bad, want := range map[string]string{
		``:     "unexpected end of JSON input",
		`null`: "temp_f is missing",
		`{"device":"a","time":"2026-01-01T00:00:00Z"}`:                        "temp_f is missing",
		`{"device":"","time":"2026-01-01T00:00:00Z","temp_f":1}`:              "device is empty",
		`{"device":"a","temp_f":1}`:                                           "time is missing",
		`{"device":"a","time":"9999-12-31T23:59:59-10:00","temp_f":1}`:        "9999",
		`{"device":"a","time":"2026-01-01T00:00:00Z","temp_f":1e308}`:         "no temperature",
		`{"device":"a","time":"2026-01-01T00:00:00Z","temp_f":"1"}`:           "cannot unmarshal",
		`{"device":"a\r\nb","time":"2026-01-01T00:00:00Z","temp_f":1}`:        "control character",
		`{"device":"a","time":"2026-01-01T00:00:00Z","temp_f":1} {"again":1}`: "after top-level value",
	} {
		_, err := decodeReading([]byte(bad))
		require.ErrorContains(t, err, want, bad)
	}
}

func TestMergeIsByEventTimeAndStable(t *testing.T) {
	r := func(sec int, device string) Reading { return Reading{Device: device, Time: time.Unix(int64(sec), 0)} }
	got := mergeReadings([][]Reading{{r(3, "a"), r(1, "b"), r(2, "c")}, {r(1, "d"), r(3, "e")}})
	require.Equal(t, []Reading{r(1, "b"), r(1, "d"), r(2, "c"), r(3, "a"), r(3, "e")}, got)

	var files [2][]Reading // many of one instant
	var want []Reading
	for i := range 200 {
		one := r(i%2, strconv.Itoa(i))
		files[i/100] = append(files[i/100], one)
		if i%2 == 0 {
			want = append(want, one)
		}
	}
	require.Equal(t, want, mergeReadings(files[:])[:100])
}

func TestLoadIDIsOfContentsInOrder(t *testing.T) {
	a, b := []byte("a"), []byte("b")
	id := loadID("readings", a, b)
	require.Equal(t, id, loadID("readings", []byte("a"), []byte("b")))
	for _, other := range []string{loadID("readings", b, a), loadID("readings", []byte("ab")), loadID("readings", a, b, nil), loadID("devices", a, b)} {
		require.NotEqual(t, id, other)
	}
}
