// Package check is the protocol between the in-VM test of agent/storage, which runs on the host, and the program that takes the
// agent's place in the guest for it: the manager's calls one by one, so that the test can change a disk between any two.
package check

// ServiceName is how net/rpc knows the guest's side.
const ServiceName = "Storage"

// Outcome is what became of a call. Errors lose their type on the wire, so the ones that matter are told apart here.
type Outcome struct {
	ID      int
	Err     string
	Unknown bool // storage.ErrStateUnknown
	Changed bool // verity.ErrChanged
	Format  bool // verity.ErrFormat
	Errno   int  // 0 if there is none in the chain
	Millis  float64
}

// OpenArgs name a disk.
type OpenArgs struct{ Driver, Source string }

// Opened is a candidate.
type Opened struct {
	Outcome
	Root string
}

// LayerArgs mount a candidate.
type LayerArgs struct {
	Candidate int
	Target    string
}

// ScratchArgs mount a tmpfs.
type ScratchArgs struct {
	Dir  string
	Size int64
}

// DiskArgs mount a scratch disk.
type DiskArgs struct{ Driver, Source, Dir string }

// OverlayArgs mount an overlay.
type OverlayArgs struct {
	Lowers              []string
	Upper, Work, Target string
}

// FileArgs are for reading, writing and holding a file open.
type FileArgs struct {
	Path    string
	Content []byte
	Drop    bool // the page cache, first
}

// File is what Stat and Read tell.
type File struct {
	Outcome
	Content []byte
	Mode    uint32
	Links   uint64
	Xattr   string // user.note
	Names   []string
}

// State is all that could be left behind.
type State struct {
	Held        []string
	Devices     []string // /sys/block/dm-*
	Mounts      int
	Descriptors int
	Goroutines  int
}
