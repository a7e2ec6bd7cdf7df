package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"

	"github.com/twmb/franz-go/pkg/kgo"
)

// registerFiles is where Debian's package ieee-data has the IEEE's register of
// the vendors of network hardware.
var registerFiles = []string{
	"/usr/share/ieee-data/oui.csv", "/usr/share/ieee-data/mam.csv", "/usr/share/ieee-data/oui36.csv", "/usr/share/ieee-data/iab.csv",
}

// A vendor is one entry of the register.
type vendor struct {
	Registry     string `json:"registry"`
	Assignment   string `json:"assignment"`
	Organization string `json:"organization"`
	Address      string `json:"address"`
}

// readRegister reads the entries of those files that are there, by assignment.
func readRegister(files []string) ([]vendor, error) {
	byKey := map[string]vendor{}
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = parseRegister(f, byKey)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(byKey) == 0 {
		return nil, fmt.Errorf("no vendor register at %s: it is in Debian's package ieee-data", files[0])
	}
	out := make([]vendor, 0, len(byKey))
	for _, v := range byKey {
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Assignment < out[j].Assignment })
	return out, nil
}

// parseRegister reads one file: a line of titles, and then registry, assignment,
// name and address.
func parseRegister(r io.Reader, to map[string]vendor) error {
	lines := csv.NewReader(r)
	lines.LazyQuotes, lines.FieldsPerRecord = true, -1
	for first := true; ; first = false {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !first && len(fields) >= 4 {
			to[fields[1]] = vendor{Registry: fields[0], Assignment: fields[1], Organization: fields[2], Address: fields[3]}
		}
	}
}

// makeVendors makes a topic of the register.
func makeVendors(ctx context.Context, addrs []string, topic string, all []vendor) error {
	if err := createTopic(ctx, addrs, topic, devicePartitions, tableConfig()); err != nil {
		return err
	}
	w, err := newWriter(addrs, false)
	if err != nil {
		return err
	}
	for _, v := range all {
		value, err := json.Marshal(v)
		if err != nil {
			return errors.Join(err, w.close())
		}
		r := &kgo.Record{Topic: topic, Key: []byte(v.Assignment), Value: value}
		r.Partition = partitionOf(r.Key)
		w.write(ctx, r)
	}
	return w.close()
}
