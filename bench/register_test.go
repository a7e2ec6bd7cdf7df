package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Names with commas and quotes are one field; of two entries with one assignment
// the later one counts; files that are not there are left out.
func TestRegister(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "oui.csv")
	require.NoError(t, os.WriteFile(name, []byte(`Registry,Assignment,Organization Name,Organization Address
MA-L,002272,"American ""Micro"" Fuel, Inc.",2181 Buchanan Loop Ferndale WA US 98248
MA-L,00D0EF,IGT,9295 PROTOTYPE DRIVE RENO NV US 89511
MA-L,00D0EF,IGT Later,RENO
short,line
`), 0o600))
	all, err := readRegister([]string{name, filepath.Join(dir, "none.csv")})
	require.NoError(t, err)
	require.Equal(t, []vendor{
		{"MA-L", "002272", `American "Micro" Fuel, Inc.`, "2181 Buchanan Loop Ferndale WA US 98248"},
		{"MA-L", "00D0EF", "IGT Later", "RENO"},
	}, all)
}

func TestNoRegister(t *testing.T) {
	_, err := readRegister([]string{filepath.Join(t.TempDir(), "oui.csv")})
	require.ErrorContains(t, err, "ieee-data")
}
