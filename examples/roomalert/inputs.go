package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path"
)

// data is the example: temperatures of five probes over nine days of September
// 2017, and a device master for four of them.
//
//go:embed data/*.csv data/LICENSE
var data embed.FS

// exampleReadings are in the order in which they were recorded.
func exampleReadings() []string {
	return []string{"probes-temps.csv", "probes-temps-foamcore.csv", "probes-movesensors.csv", "probes-after-sensor-move.csv"}
}

const exampleDevices = "devices.csv"

// inputs is what there is to load. It is read and checked as a whole before
// anything is touched.
type inputs struct {
	devices   []Device // none: the topic is used as it is
	devicesID string

	readings   []Reading // none: the topic is used as it is
	readingsID string
}

func readInputs(c *config) (*inputs, error) {
	var in inputs
	example := len(c.kafka.brokers) == 0
	if name, read := c.devicesFile, os.ReadFile; name != "" || example {
		if name == "" {
			name, read = exampleDevices, readExample
		}
		b, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("-devices: %w", err)
		}
		if in.devices, err = readDevices(name, bytes.NewReader(b)); err != nil {
			return nil, err
		}
		in.devicesID = loadID("devices", b)
	}
	names, read := c.readingFiles, os.ReadFile
	if len(names) == 0 && example {
		names, read = exampleReadings(), readExample
	}
	if len(names) == 0 {
		return &in, nil
	}
	var contents [][]byte
	var files [][]Reading
	for _, name := range names {
		b, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("-readings: %w", err)
		}
		readings, err := readReadings(name, bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		contents, files = append(contents, b), append(files, readings)
	}
	in.readings, in.readingsID = mergeReadings(files), loadID("readings", contents...)
	return &in, nil
}

func readExample(name string) ([]byte, error) { return data.ReadFile(path.Join("data", name)) }
