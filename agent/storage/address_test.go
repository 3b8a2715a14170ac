package storage

import (
	"errors"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		driver, source string
		ok             bool
	}{
		{"scsi", "0:0", true},
		{"scsi", "0:3", true},
		{"scsi", "255:255", true},
		{"scsi", "0:256", false},
		{"scsi", "256:0", false},
		{"scsi", "00:3", false},
		{"scsi", "0:03", false},
		{"scsi", "+0:3", false},
		{"scsi", "0:-1", false},
		{"scsi", "0:", false},
		{"scsi", ":3", false},
		{"scsi", "3", false},
		{"scsi", "0:0:3", false},
		{"scsi", " 0:3", false},
		{"scsi", "0:3\n", false},
		{"scsi", "*:3", false},
		{"scsi", "../0:3", false},
		{"scsi", "0:99999999999999999999", false},
		{"blk", "02/01", true},
		{"blk", "02", true},
		{"blk", "1f/00/00/05", true},
		{"blk", "02.1/01.7", true},
		{"blk", "02.0", false},
		{"blk", "02.8", false},
		{"blk", "20", false},
		{"blk", "2", false},
		{"blk", "0A", false},
		{"blk", "", false},
		{"blk", "/02", false},
		{"blk", "02/", false},
		{"blk", "02//01", false},
		{"blk", "02/../01", false},
		{"blk", "02/01/01/01/01", false},
		{"", "0:3", false},
		{"SCSI", "0:3", false},
		{"nvdimm", "0", false},
	} {
		t.Run(c.driver+"-"+c.source, func(t *testing.T) {
			a, err := ParseAddress(c.driver, c.source)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrAddress) {
				t.Fatalf("got %v, want accepted: %t", err, c.ok)
			}
			if c.ok && a.String() != c.driver+" "+c.source {
				t.Errorf("got %q, want %q", a, c.driver+" "+c.source)
			}
		})
	}
}

// FuzzParseAddress: an address is its own canonical form, so two accepted spellings are two places.
func FuzzParseAddress(f *testing.F) {
	f.Add("scsi", "0:3")
	f.Add("blk", "02/01.1")
	f.Fuzz(func(t *testing.T, driver, source string) {
		a, err := ParseAddress(driver, source)
		if err != nil {
			if a != (Address{}) {
				t.Error("an error came with an address")
			}
			return
		}
		if a.driver != driver || a.source != source || len(source) > 32 {
			t.Errorf("got %+v of %q %q", a, driver, source)
		}
	})
}
