package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Reading is what a sensor sends. It is the value of the readings topic, as
// JSON; the key is the device's id.
type Reading struct {
	Device string    `json:"device"`
	Time   time.Time `json:"time"` // event time
	TempF  float64   `json:"temp_f"`
	// Humidity is relative, in percent; nil if the device does not measure it.
	Humidity *float64 `json:"humidity,omitempty"`
}

// celsius returns the temperature in degrees C, not rounded.
func (r *Reading) celsius() float64 { return (r.TempF - 32) * 5 / 9 }

// decodeReading decodes the value of a record, which anyone may have written.
func decodeReading(b []byte) (Reading, error) {
	var v struct {
		Reading
		TempF *float64 `json:"temp_f"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return Reading{}, err
	}
	r := v.Reading
	if v.TempF == nil {
		return r, errors.New("temp_f is missing")
	}
	r.TempF = *v.TempF
	r.Time = r.Time.UTC()
	return r, r.validate()
}

// maxTempF is far above what any sensor says and far below what arithmetic
// with it could not stand.
const maxTempF = 1e6

// validate reports what makes r useless.
func (r *Reading) validate() error {
	switch {
	case strings.TrimSpace(r.Device) == "":
		return errors.New("device is empty")
	case !utf8.ValidString(r.Device) || strings.ContainsFunc(r.Device, unicode.IsControl):
		return fmt.Errorf("device %q holds a control character or is not UTF-8", r.Device)
	case r.Time.IsZero():
		return errors.New("time is missing")
	case r.Time.Unix() < 0 || r.Time.Year() > 9999:
		return fmt.Errorf("time %s is not between 1970 and 9999, as a Kafka timestamp has to be", r.Time.Format(time.RFC3339Nano))
	case math.Abs(r.TempF) > maxTempF:
		return fmt.Errorf("temperature %v is no temperature", r.TempF)
	}
	return nil
}

// readReadings reads a file in the probes' own format, without a header:
//
//	2017-09-18T09:00:49.012054,5C:CF:7F:33:F7:F8,74.78,58.66
//
// A time without a zone is UTC. Errors name file, line and value.
func readReadings(name string, r io.Reader) ([]Reading, error) {
	cr := newCSV(r)
	var readings []Reading
	for {
		fields, line, err := nextRow(cr)
		switch {
		case errors.Is(err, io.EOF) && len(readings) == 0:
			return nil, fmt.Errorf("%s holds no reading", name)
		case errors.Is(err, io.EOF):
			return readings, nil
		case err != nil:
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		one, err := parseReading(fields)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		readings = append(readings, one)
	}
}

func parseReading(fields []string) (r Reading, err error) {
	if len(fields) != 4 {
		return r, fmt.Errorf("want 4 fields (time,device,temperature in °F,humidity in %%), found %d: %q", len(fields), strings.Join(fields, ","))
	}
	if r.Time, err = parseTime(fields[0]); err != nil {
		return r, err
	}
	r.Device = fields[1]
	if r.TempF, err = parseNumber("temperature", fields[2]); err != nil {
		return r, err
	}
	h, err := parseNumber("humidity", fields[3])
	if err != nil {
		return r, err
	}
	r.Humidity = &h
	return r, r.validate()
}

func parseTime(text string) (time.Time, error) {
	t, err := time.Parse("2006-01-02T15:04:05", text)
	if err != nil {
		t, err = time.Parse(time.RFC3339Nano, text)
	}
	if err != nil {
		return t, fmt.Errorf("time %q is not like 2017-09-18T09:00:49.012054", text)
	}
	return t.UTC(), nil
}

// mergeReadings returns all readings by event time. Readings of one instant
// keep the order of files and lines.
func mergeReadings(files [][]Reading) []Reading {
	all := slices.Concat(files...)
	slices.SortStableFunc(all, func(a, b Reading) int { return a.Time.Compare(b.Time) })
	return all
}

// loadID names what is loaded, by the contents of the files in their order.
func loadID(kind string, contents ...[]byte) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s %d\n", kind, len(contents))
	for _, c := range contents {
		_, _ = fmt.Fprintf(h, "%d\n", len(c))
		_, _ = h.Write(c)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
