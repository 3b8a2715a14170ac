package measure

import (
	"testing"

	"github.com/cloister-cc/cloister/snp/measure/measuretest"
)

// testImage is an image, and what a test does to its bytes.
type testImage struct {
	measuretest.Image
	change func(image []byte)
}

func (i testImage) build() []byte {
	b := i.Build()
	if i.change != nil {
		i.change(b)
	}
	return b
}

func (i testImage) parse(t testing.TB) *Firmware {
	t.Helper()
	fw, err := ParseFirmware(i.build())
	if err != nil {
		t.Fatal(err)
	}
	return fw
}

func amdSev() testImage    { return testImage{Image: measuretest.AmdSev()} }
func svsmImage() testImage { return testImage{Image: measuretest.SVSM()} }

func section(s measuretest.Section) Section { return Section{s[0], s[1], SectionKind(s[2])} }
