package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

const goodRow = "dev-1,Room 1,Hotel,owner@example.com,30,28.5\n"

func TestReadDevices(t *testing.T) {
	got, err := readDevices("d.csv", strings.NewReader("\ufeff"+devicesHeader+"\r\n"+
		"dev-1,Room 1,Hotel,owner@example.com,30,28.5\r\n\r\n"+`dev-2,"Suite ""A"", upper floor",Hôtel,o.b@example.com,-1.5,-1.5`))
	require.NoError(t, err)
	require.Equal(t, []Device{
		{"dev-1", "Room 1", "Hotel", "owner@example.com", 30, 28.5},
		{"dev-2", `Suite "A", upper floor`, "Hôtel", "o.b@example.com", -1.5, -1.5},
	}, got)
}

func TestBrokenDeviceRowsAreNamed(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"empty file":       {"", "d.csv is empty, want the header device,room,site,owner,limit_c,clear_c and a row for each device"},
		"header only":      {devicesHeader + "\n", "d.csv holds no device"},
		"wrong header":     {"device,room\n", `d.csv:1: the header is "device,room", want "device,room,site,owner,limit_c,clear_c"`},
		"no header":        {goodRow, `d.csv:1: the header is "dev-1,Room 1,Hotel,owner@example.com,30,28.5", want "device,room,site,owner,limit_c,clear_c"`},
		"missing field":    {devicesHeader + "\n" + goodRow + "dev-2,Room,Hotel,o@example.com,30\n", `d.csv:3: want 6 fields (device,room,site,owner,limit_c,clear_c), found 5: "dev-2,Room,Hotel,o@example.com,30"`},
		"bad limit":        {devicesHeader + "\ndev-2,Room,Hotel,o@example.com,warm,20\n", `d.csv:2: limit_c "warm" is not a number`},
		"limit NaN":        {devicesHeader + "\ndev-2,Room,Hotel,o@example.com,NaN,20\n", `d.csv:2: limit_c "NaN" is not a number`},
		"bad clear":        {devicesHeader + "\ndev-2,Room,Hotel,o@example.com,30,\n", `d.csv:2: clear_c "" is not a number`},
		"clear infinite":   {devicesHeader + "\ndev-2,Room,Hotel,o@example.com,30,-Inf\n", `d.csv:2: clear_c "-Inf" is not a number`},
		"clear over limit": {devicesHeader + "\ndev-2,Room,Hotel,o@example.com,30,30.5\n", "d.csv:2: clear_c 30.5 is above limit_c 30: an alert would be over before it began"},
		"twice":            {devicesHeader + "\n" + goodRow + "\n" + goodRow, `d.csv:4: device "dev-1" is on line 2 already`},
		"no device":        {devicesHeader + "\n ,Room,Hotel,o@example.com,30,28\n", "d.csv:2: device is empty"},
		"no room":          {devicesHeader + "\ndev-2,,Hotel,o@example.com,30,28\n", "d.csv:2: room is empty"},
		"no site":          {devicesHeader + "\ndev-2,Room,,o@example.com,30,28\n", "d.csv:2: site is empty"},
		"no owner":         {devicesHeader + "\ndev-2,Room,Hotel,,30,28\n", "d.csv:2: owner is empty"},
		"bad owner":        {devicesHeader + "\ndev-2,Room,Hotel,maria,30,28\n", `d.csv:2: owner "maria" is not a mail address like name@example.com`},
		"owner with name":  {devicesHeader + "\ndev-2,Room,Hotel,Maria <m@example.com>,30,28\n", `d.csv:2: owner "Maria <m@example.com>" is not a mail address like name@example.com`},
		"two owners":       {devicesHeader + "\ndev-2,Room,Hotel,\"a@example.com,b@example.com\",30,28\n", `d.csv:2: owner "a@example.com,b@example.com" is not a mail address like name@example.com`},
		"line break in a room, for a header of its own": {devicesHeader + "\n" + goodRow + "dev-2,\"Room\nBcc: x@example.com\",Hotel,o@example.com,30,28\n",
			`d.csv:3: room "Room\nBcc: x@example.com" holds a control character`},
		"carriage return in a site": {devicesHeader + "\ndev-2,Room,\"Ho\rtel\",o@example.com,30,28\n", `d.csv:2: site "Ho\rtel" holds a control character`},
		"not UTF-8":                 {devicesHeader + "\ndev-2,Caf\xe9,Hotel,o@example.com,30,28\n", `d.csv:2: room "Caf\xe9" is not UTF-8`},
		"open quote":                {devicesHeader + "\ndev-2,\"Room,Hotel\n", `d.csv:2: extraneous or missing " in quoted-field`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readDevices("d.csv", strings.NewReader(c.file))
			require.EqualError(t, err, c.want)
		})
	}
}

func TestDeviceCodecNeverFails(t *testing.T) {
	c := newDeviceCodec()
	d := Device{"dev-1", "Room 1", "Hotel", "owner@example.com", 30, 28.5}
	b, err := c.Encode([]byte("x"), deviceRow{Device: d}, codec.Meta{})
	require.NoError(t, err)
	require.JSONEq(t, `{"device":"dev-1","room":"Room 1","site":"Hotel","owner":"owner@example.com","limit_c":30,"clear_c":28.5}`, string(b[1:]))
	row, err := c.Decode(b[1:], codec.Meta{})
	require.NoError(t, err)
	require.Equal(t, deviceRow{Device: d}, row)

	for _, bad := range []string{"", "null", "{}", "[1]", `{"device":"a","room":"a\r\nBcc: b","site":"c","owner":"o@example.com"}`} {
		row, err := c.Decode([]byte(bad), codec.Meta{})
		require.NoError(t, err)
		require.NotEmpty(t, row.bad, bad)
	}
	require.True(t, json.Valid(b[1:]))
}
