package boot

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloister-cc/cloister/agent/initdata"
)

func TestCarry(t *testing.T) {
	policy := []byte("package policy")
	c, err := Carry(CarrierSetPolicy, policy)
	if err != nil || c.HostData != sha256.Sum256(policy) || c.Initdata != nil {
		t.Errorf("by request: got %+v, %v", c, err)
	}
	c, err = Carry(CarrierInitdata, policy)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "initdata.img")
	if err := WriteInitdata(path, c.Initdata); err != nil {
		t.Fatal(err)
	}
	if err := WriteInitdata(path, c.Initdata); err == nil {
		t.Error("wrote over a file")
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := initdata.Read(bytes.NewReader(image), int64(len(image)))
	if err != nil || doc.HostData() != c.HostData || doc.Data[initdata.PolicyKey] != string(policy) {
		t.Errorf("by disk: got %+v, %v", doc, err)
	}
	if _, err := Carry("pigeon", policy); err == nil {
		t.Error("got no error for a carrier nobody knows")
	}
}
