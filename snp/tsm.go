package snp

import (
	"context"
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
	turn   turn
	report string // the report directory
}

func openTSM(root string) (*tsmDevice, error) {
	d := &tsmDevice{turn: newTurn(), report: filepath.Join(root, "report")}
	e, err := d.newEntry()
	if err != nil {
		return nil, err
	}
	got, err := e.read("provider", 64)
	if err := errors.Join(err, e.remove()); err != nil {
		// Not %w: an entry could be made, so the interface is there; a missing attribute must not read as "no device".
		return nil, fmt.Errorf("open configfs-tsm %q: %v", d.report, err)
	}
	if name := strings.TrimSuffix(string(got), "\n"); name != tsmProvider {
		return nil, fmt.Errorf("open configfs-tsm %q: got provider %.20q, want %q: %w", d.report, name, tsmProvider, errOtherProvider)
	}
	return d, nil
}

func (d *tsmDevice) String() string { return "configfs-tsm " + d.report }

func (d *tsmDevice) Report(ctx context.Context, data [64]byte) (Evidence, error) {
	return d.turn.do(ctx, func() (Evidence, error) {
		var err error
		for range tsmTries {
			var ev Evidence
			if ev, err = d.once(data); err == nil {
				return ev, nil
			}
			if !errors.Is(err, errMoved) && !errors.Is(err, syscall.EBUSY) {
				break
			}
		}
		return Evidence{}, explain(err)
	})
}

var errMoved = errors.New("another writer changed the entry")

// once makes one entry, asks and reads. The blobs belong to this nonce only if generation, read after them, is what our one write made it.
func (d *tsmDevice) once(data [64]byte) (ev Evidence, err error) {
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
	if err := e.write("inblob", data[:]); err != nil {
		return Evidence{}, err
	}
	if ev.Report, err = e.read("outblob", ReportSize); err != nil {
		return Evidence{}, err
	}
	if ev.Certs, err = e.read("auxblob", maxAux); err != nil {
		return Evidence{}, err
	}
	after, err := e.generation()
	if err != nil {
		return Evidence{}, err
	}
	if after != before+1 {
		return Evidence{}, fmt.Errorf("report %q: got generation %d, want %d: %w", e, after, before+1, errMoved)
	}
	if len(ev.Report) != ReportSize {
		return Evidence{}, fmt.Errorf("report %q: got %d bytes, want %d", e, len(ev.Report), ReportSize)
	}
	ev.Certs = trimCerts(ev.Certs)
	return ev, nil
}

// entry is the directory of one report request.
type entry string

func (d *tsmDevice) newEntry() (entry, error) {
	dir, err := os.MkdirTemp(d.report, "cloister-")
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

func (e entry) generation() (uint64, error) {
	b, err := e.read("generation", 32)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(string(b), "\n"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read generation of %q: %w", e, err)
	}
	return n, nil
}
