package snp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	tsmProvider = "sev_guest"
	// maxAux bounds the certificate table; the kernel's own limit (32 KiB) has been raised before.
	maxAux = 256 << 10
	// tsmTries is how often a report is asked for anew after another writer came between.
	tsmTries = 3
)

var errOtherProvider = errors.New("configfs-tsm belongs to another provider")

// tsmDevice asks configfs-tsm: each report is an entry of its own, made, written, read and removed.
type tsmDevice struct {
	dir   string // the report directory
	floor uint32 // lowest privilege level the guest has a key for
}

func openTSM(root string) (*tsmDevice, error) {
	d := &tsmDevice{dir: filepath.Join(root, "report")}
	e, err := d.newEntry()
	if err != nil {
		return nil, err
	}
	err = d.probe(e)
	if rmErr := e.remove(); err != nil || rmErr != nil {
		return nil, errors.Join(err, rmErr)
	}
	return d, nil
}

// probe reads what every entry has alike. An entry could be made, so the interface is there, and a missing attribute must not read as "no device":
// hence no %w around what the kernel said.
func (d *tsmDevice) probe(e entry) error {
	name, err := e.line("provider")
	if err != nil {
		return fmt.Errorf("open configfs-tsm %q: %v", d.dir, err)
	}
	if name != tsmProvider {
		return fmt.Errorf("open configfs-tsm %q: got provider %.20q, want %q: %w", d.dir, name, tsmProvider, errOtherProvider)
	}
	text, err := e.line("privlevel_floor")
	if err != nil {
		return fmt.Errorf("open configfs-tsm %q: %v", d.dir, err)
	}
	floor, err := strconv.ParseUint(text, 10, 32)
	if err != nil || floor > maxVMPL {
		return fmt.Errorf("open configfs-tsm %q: privlevel_floor: got %.20q, want 0 to %d", d.dir, text, maxVMPL)
	}
	d.floor = uint32(floor)
	return nil
}

// checkLevel compares a privilege level with the lowest one the guest has a key for. An ask below it would be refused by the firmware, for reasons
// it does not give.
func (d *tsmDevice) checkLevel(vmpl uint32) error {
	if vmpl < d.floor {
		return fmt.Errorf("configfs-tsm %q: %w: got %d, want at least %d (privlevel_floor)", d.dir, ErrLevel, vmpl, d.floor)
	}
	return nil
}

func (d *tsmDevice) String() string { return "configfs-tsm " + d.dir }

// report asks again, a bounded number of times, when another writer came between.
func (d *tsmDevice) report(data [64]byte, vmpl uint32) (Evidence, error) {
	var err error
	for range tsmTries {
		var ev Evidence
		if ev, err = d.once(data, vmpl); err == nil {
			return ev, nil
		}
		if !errors.Is(err, errMoved) && !errors.Is(err, syscall.EBUSY) {
			return Evidence{}, err
		}
	}
	return Evidence{}, fmt.Errorf("after %d tries: %w", tsmTries, err)
}

var errMoved = errors.New("another writer changed the entry")

// once makes one entry, asks and reads. The blobs belong to this nonce and level only if generation, read after them, is what our writes made it. The
// entry is gone afterwards, whatever comes: the kernel keeps entries until somebody removes them.
func (d *tsmDevice) once(data [64]byte, vmpl uint32) (ev Evidence, err error) {
	e, err := d.newEntry()
	if err != nil {
		return Evidence{}, err
	}
	defer func() {
		if rmErr := e.remove(); rmErr != nil {
			ev, err = Evidence{}, errors.Join(err, rmErr)
		}
	}()
	before, err := e.generation()
	if err != nil {
		return Evidence{}, err
	}
	writes, err := e.configure(data, vmpl)
	if err != nil {
		return Evidence{}, err
	}
	if ev.Report, err = e.read("outblob", ReportSize); errors.Is(err, syscall.EIO) {
		// There is one errno for both.
		return Evidence{}, fmt.Errorf("the firmware failed, or the host's certificate table is larger than the kernel takes: %w", err)
	} else if err != nil {
		return Evidence{}, err
	}
	if ev.Certs, err = e.read("auxblob", maxAux); err != nil {
		return Evidence{}, err
	}
	after, err := e.generation()
	if err != nil {
		return Evidence{}, err
	}
	if want := before + writes; after != want {
		return Evidence{}, fmt.Errorf("report %q: got generation %d, want %d: %w", e, after, want, errMoved)
	}
	if len(ev.Report) != ReportSize {
		return Evidence{}, fmt.Errorf("report %q: got %d bytes, want %d", e, len(ev.Report), ReportSize)
	}
	ev.Certs = trimCerts(ev.Certs)
	return ev, nil
}

// configure writes what is asked, and says with how many writes. A new entry is at level 0.
func (e entry) configure(data [64]byte, vmpl uint32) (writes uint64, err error) {
	if vmpl != 0 {
		if err := e.write("privlevel", strconv.AppendUint(nil, uint64(vmpl), 10)); err != nil {
			return 0, err
		}
		writes++
	}
	return writes + 1, e.write("inblob", data[:])
}

// entry is the directory of one report request.
type entry string

func (d *tsmDevice) newEntry() (entry, error) {
	dir, err := os.MkdirTemp(d.dir, "cloister-")
	if err != nil {
		return "", fmt.Errorf("make configfs-tsm entry: %w", err)
	}
	return entry(dir), nil
}

func (e entry) remove() error {
	err := syscall.Rmdir(string(e)) // not RemoveAll: the attributes cannot be unlinked
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove configfs-tsm entry %q: %w", e, err)
	}
	return nil
}

// read returns an attribute of at most limit bytes.
func (e entry) read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(string(e), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %q: got more than %d bytes", f.Name(), limit)
	}
	return b, nil
}

// write sets an attribute with one write call: the kernel takes each call as a new value.
func (e entry) write(name string, b []byte) error {
	f, err := os.OpenFile(filepath.Join(string(e), name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// line returns a text attribute.
func (e entry) line(name string) (string, error) {
	b, err := e.read(name, 64)
	return strings.TrimSuffix(string(b), "\n"), err
}

func (e entry) generation() (uint64, error) {
	text, err := e.line("generation")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read generation of %q: %w", e, err)
	}
	return n, nil
}
