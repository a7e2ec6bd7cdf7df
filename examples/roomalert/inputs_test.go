package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// write makes a file of the test's own.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestExampleIsThereByDefault(t *testing.T) {
	in, err := readInputs(&config{})
	require.NoError(t, err)
	require.Len(t, in.devices, 4)
	require.Len(t, in.readings, 23322)
	licence, err := data.ReadFile("data/LICENSE")
	require.NoError(t, err)
	require.Contains(t, string(licence), "MIT License")

	devices := make(map[string]bool)
	for i, r := range in.readings {
		devices[r.Device] = true
		require.False(t, i > 0 && r.Time.Before(in.readings[i-1].Time))
	}
	require.Len(t, devices, 5)
	for _, d := range in.devices {
		require.True(t, devices[d.ID], "device %s has readings", d.ID)
	}
}

func TestOwnBrokersAreNotGivenTheExample(t *testing.T) {
	in, err := readInputs(&config{kafka: kafkaConfig{brokers: []string{"b:9092"}}})
	require.NoError(t, err)
	require.Equal(t, &inputs{}, in)
}

func TestOwnFilesReplaceTheExample(t *testing.T) {
	devices := write(t, "d.csv", devicesHeader+"\n"+goodRow)
	first := write(t, "1.csv", "2017-09-18T09:00:49,a,1,2\n")
	second := write(t, "2.csv", "2017-09-18T09:00:48,b,1,2\n")
	in, err := readInputs(&config{devicesFile: devices, readingFiles: []string{first, second}})
	require.NoError(t, err)
	require.Len(t, in.devices, 1)
	require.Len(t, in.readings, 2)
	require.Equal(t, "b", in.readings[0].Device)

	only, err := readInputs(&config{kafka: kafkaConfig{brokers: []string{"b:9092"}}, readingFiles: []string{first}})
	require.NoError(t, err)
	require.Empty(t, only.devices)
	require.NotEqual(t, in.readingsID, only.readingsID)
}

func TestBadInputsAreUsageErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no.csv")
	broken := write(t, "broken.csv", "2017-09-18T09:00:49,a,1,2\n2017-09-18T09:00:49,a,x,2\n")
	badDevice := write(t, "devices.csv", devicesHeader+"\n"+goodRow+"dev-2,Room,Hotel,o@example.com,20,21\n")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no such device file":  {[]string{"-devices", missing}, "roomalert: -devices: open " + missing + ": no such file or directory\n"},
		"no such reading file": {[]string{"-readings", missing}, "roomalert: -readings: open " + missing + ": no such file or directory\n"},
		"broken reading":       {[]string{"-readings", broken}, "roomalert: " + broken + `:2: temperature "x" is not a number` + "\n"},
		"broken device":        {[]string{"-devices", badDevice}, "roomalert: " + badDevice + ":3: clear_c 21 is above limit_c 20: an alert would be over before it began\n"},
	} {
		t.Run(name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			r := runProgram(t.Context(), append(c.args, "-state", state)...)
			require.Equal(t, exitUsage, r.code)
			require.Empty(t, r.stdout)
			require.Equal(t, c.want, r.stderr)
			require.NoDirExists(t, state, "nothing is touched")
		})
	}
}
