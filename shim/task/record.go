package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// recordName is the file in a container's bundle that a later `delete` of the shim binary reads.
const recordName = "cloister.json"

// Record is what outlives the shim process of one container.
type Record struct {
	Sandbox string     `json:"sandbox"`           // id of the pod
	Dir     string     `json:"dir"`               // the pod's state directory
	PID     int        `json:"pid"`               // what containerd was told
	Metrics string     `json:"metrics,omitempty"` // path of the socket with the pod's metrics
	Exit    *ExitState `json:"exit,omitempty"`    // of the first process, once it ended
}

// ExitState is how the first process ended.
type ExitState struct {
	Status uint32    `json:"status"`
	At     time.Time `json:"at"`
}

// Record is what is known of a container before there is anything of it.
func (c *Config) Record() Record {
	return Record{Sandbox: c.Sandbox, Dir: StateDir(c.Node.StateDir, c.Namespace, c.Sandbox), Metrics: c.Metrics}
}

// StateDir is a pod's state directory below a node's. Neither containerd's namespaces nor its ids have a plus sign.
func StateDir(dir, namespace, sandbox string) string {
	return filepath.Join(dir, namespace+"+"+sandbox)
}

// ReadRecord reads the record in a bundle; none is no error and a nil record.
func ReadRecord(bundle string) (*Record, error) {
	data, err := os.ReadFile(filepath.Join(bundle, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read %q in bundle %q: %w", recordName, bundle, err)
	}
	return r, nil
}

// WriteRecord replaces the record in a bundle as a whole.
func WriteRecord(bundle string, r Record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := filepath.Join(bundle, recordName)
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
