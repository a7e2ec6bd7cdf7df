package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/globaltable/enrich/codec"
)

// devicesHeader is the first line of a device master file.
const devicesHeader = "device,room,site,owner,limit_c,clear_c"

// A Device is a row of the device master: what a reading means. It is the value
// of the devices topic, as JSON; the key is the device's id.
type Device struct {
	ID    string `json:"device"`
	Room  string `json:"room"`
	Site  string `json:"site"`
	Owner string `json:"owner"` // a mail address
	// LimitC and ClearC are degrees C. A reading above LimitC raises an alert,
	// one below ClearC resolves it.
	LimitC float64 `json:"limit_c"`
	ClearC float64 `json:"clear_c"`
}

// validate reports what makes d useless for alerts. What it lets through is
// safe in a mail's headers.
func (d *Device) validate() error {
	for _, f := range []struct{ name, value string }{
		{"device", d.ID}, {"room", d.Room}, {"site", d.Site}, {"owner", d.Owner},
	} {
		switch {
		case strings.TrimSpace(f.value) == "":
			return fmt.Errorf("%s is empty", f.name)
		case !utf8.ValidString(f.value):
			return fmt.Errorf("%s %q is not UTF-8", f.name, f.value)
		case strings.ContainsFunc(f.value, unicode.IsControl):
			return fmt.Errorf("%s %q holds a control character", f.name, f.value)
		}
	}
	if a, err := mail.ParseAddress(d.Owner); err != nil || a.Address != d.Owner {
		return fmt.Errorf("owner %q is not a mail address like name@example.com", d.Owner)
	}
	for _, f := range []struct {
		name  string
		value float64
	}{{"limit_c", d.LimitC}, {"clear_c", d.ClearC}} {
		if math.IsNaN(f.value) || math.IsInf(f.value, 0) {
			return fmt.Errorf("%s %v is not a finite number", f.name, f.value)
		}
	}
	if d.ClearC > d.LimitC {
		return fmt.Errorf("clear_c %v is above limit_c %v: an alert would be over before it began", d.ClearC, d.LimitC)
	}
	return nil
}

// readDevices reads a device master file. Errors name file, line and value.
func readDevices(name string, r io.Reader) ([]Device, error) {
	cr := newCSV(r)
	var devices []Device
	lines := make(map[string]int)
	for first := true; ; first = false {
		fields, line, err := nextRow(cr)
		switch {
		case errors.Is(err, io.EOF) && first:
			return nil, fmt.Errorf("%s is empty, want the header %s and a row for each device", name, devicesHeader)
		case errors.Is(err, io.EOF) && len(devices) == 0:
			return nil, fmt.Errorf("%s holds no device", name)
		case errors.Is(err, io.EOF):
			return devices, nil
		case err != nil:
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		if first {
			if h := strings.Join(fields, ","); h != devicesHeader {
				return nil, fmt.Errorf("%s:%d: the header is %q, want %q", name, line, h, devicesHeader)
			}
			continue
		}
		d, err := parseDevice(fields)
		if err == nil && lines[d.ID] > 0 {
			err = fmt.Errorf("device %q is on line %d already", d.ID, lines[d.ID])
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		lines[d.ID] = line
		devices = append(devices, d)
	}
}

func parseDevice(fields []string) (d Device, err error) {
	if n := strings.Count(devicesHeader, ",") + 1; len(fields) != n {
		return d, fmt.Errorf("want %d fields (%s), found %d: %q", n, devicesHeader, len(fields), strings.Join(fields, ","))
	}
	d = Device{ID: fields[0], Room: fields[1], Site: fields[2], Owner: fields[3]}
	if d.LimitC, err = parseNumber("limit_c", fields[4]); err != nil {
		return d, err
	}
	if d.ClearC, err = parseNumber("clear_c", fields[5]); err != nil {
		return d, err
	}
	return d, d.validate()
}

func parseNumber(name, text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%s %q is not a number", name, text)
	}
	return f, nil
}

func newCSV(r io.Reader) *csv.Reader {
	cr := csv.NewReader(r)
	cr.FieldsPerRecord = -1 // counted by us, for an error that says what is expected
	cr.ReuseRecord = true
	return cr
}

// nextRow returns the next row and its line.
func nextRow(cr *csv.Reader) (fields []string, line int, err error) {
	fields, err = cr.Read()
	if pe, ok := errors.AsType[*csv.ParseError](err); ok {
		return nil, pe.Line, pe.Err
	}
	if err != nil {
		return nil, 0, err
	}
	line, _ = cr.FieldPos(0)
	if line == 1 {
		fields[0] = strings.TrimPrefix(fields[0], "\ufeff") // as spreadsheets write it
	}
	for i := range fields {
		fields[i] = strings.Clone(fields[i]) // off the memory of the whole row
	}
	return slices.Clone(fields), line, nil
}

// A deviceRow is a device as it is found in the topic: someone else may have
// written something that is no device.
type deviceRow struct {
	Device
	bad string // what is wrong with it; "" if nothing is
}

// deviceCodec never fails to decode: a row that is no device says so, and the
// readings it belongs to are counted as dropped, each at its own offset.
type deviceCodec struct{ codec.Codec[Device] }

func newDeviceCodec() codec.Codec[deviceRow] { return deviceCodec{codec.JSON[Device]()} }

func (c deviceCodec) Encode(dst []byte, row deviceRow, m codec.Meta) ([]byte, error) {
	return c.Codec.Encode(dst, row.Device, m)
}

func (deviceCodec) Decode(b []byte, _ codec.Meta) (deviceRow, error) {
	var row deviceRow
	err := json.Unmarshal(b, &row.Device)
	if err == nil {
		err = row.Device.validate()
	}
	if err != nil {
		row.bad = err.Error()
	}
	return row, nil
}
