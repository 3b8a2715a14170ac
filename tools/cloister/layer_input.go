package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/cloister-cc/cloister/tools/cloister/progress"
	"github.com/cloister-cc/cloister/verity/layer"
)

// layerInput is the flags of the commands that read a layer.
type layerInput struct {
	format, links, diffID string
	asJSON, quiet         bool
}

func (in *layerInput) add(flags *pflag.FlagSet) {
	flags.StringVar(&in.format, "format", string(layer.Ext4), "file system: ext4 (the roots of ACI's tools) or erofs")
	flags.StringVar(&in.links, "hard-links", string(layer.CopyHardLinks), "what erofs, which has none, does with them: copy or refuse")
	flags.StringVar(&in.diffID, "diff-id", "", "refuse a layer whose uncompressed bytes have another digest (sha256:HEX)")
	flags.BoolVar(&in.asJSON, "json", false, "print root hash, diff id and sizes as JSON")
	flags.BoolVar(&in.quiet, "quiet", false, "no progress on standard error")
}

var diffIDForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (in *layerInput) options(command string) (layer.Options, error) {
	wrong := func(flag string, err error) (layer.Options, error) {
		return layer.Options{}, &usageError{fmt.Errorf("%s: --%s: %w", command, flag, err)}
	}
	if in.diffID != "" && !diffIDForm.MatchString(in.diffID) {
		return wrong("diff-id", fmt.Errorf("got %.80q, want sha256: and 64 lower-case hex digits", in.diffID))
	}
	format, err := layer.ParseFormat(in.format)
	if err != nil {
		return wrong("format", err)
	}
	links, err := layer.ParseHardLinks(in.links)
	if err != nil {
		return wrong("hard-links", err)
	}
	return layer.Options{Format: format, HardLinks: links, DiffID: in.diffID}, nil
}

// layerResult is what build and root print of a layer with --json.
type layerResult struct {
	Format layer.Format `json:"file_system"`
	layer.Result
}

// print ends what shows the progress first: on a terminal it would erase the answer.
func (in *layerInput) print(w io.Writer, from *layerFile, res layer.Result) error {
	from.Close()
	if in.asJSON {
		return printLayerJSON(w, layerResult{layer.Format(in.format), res})
	}
	_, err := fmt.Fprintln(w, res.RootHash)
	return err
}

// layerFile is a layer that is read, with what shows how far it is.
type layerFile struct {
	in   io.Reader
	file *os.File // nil for standard input
	size int64    // 0 when nobody knows
	bars *progress.Bars
	name string
	open []io.Closer
}

func openLayer(cmd *cobra.Command, name string, quiet bool) (*layerFile, error) {
	l := &layerFile{in: cmd.InOrStdin(), name: "standard input"}
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		l.in, l.file, l.name = f, f, filepath.Base(name)
		l.open = append(l.open, f)
		if size, err := f.Seek(0, io.SeekEnd); err == nil { // also right for a block device, where Stat has no size
			l.size = size
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				f.Close()
				return nil, err
			}
		}
	}
	if !quiet {
		l.bars = progress.New(cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr()))
	}
	return l, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// reader reads the layer and shows how far it is, where that takes longer than a moment.
func (l *layerFile) reader() io.Reader {
	if l.bars == nil {
		return l.in
	}
	w := &watched{of: l}
	l.open = append(l.open, w)
	if l.file == nil {
		return w
	}
	return watchedFile{w, l.file}
}

// slowLayer is how many bytes are read before there is a bar: less takes no time.
const slowLayer = 64 << 20

// watched shows what is read through it.
type watched struct {
	of   *layerFile
	done int64
	task *progress.Task
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.of.in.Read(p)
	w.done += int64(n)
	if w.task == nil && w.done >= slowLayer {
		w.task = w.of.bars.Task(w.of.name, w.of.size)
	}
	if w.task != nil {
		w.task.Set(w.done)
	}
	return n, err
}

func (w *watched) Close() error {
	if w.task != nil {
		w.task.Done()
	}
	return nil
}

// watchedFile is a file that can be read a second time, which is not shown.
type watchedFile struct {
	*watched
	file *os.File
}

func (f watchedFile) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

func (f watchedFile) Seek(offset int64, whence int) (int64, error) {
	return f.file.Seek(offset, whence)
}
func (f watchedFile) Stat() (os.FileInfo, error) { return f.file.Stat() }

// Close may be called more than once.
func (l *layerFile) Close() {
	for i := len(l.open) - 1; i >= 0; i-- {
		l.open[i].Close()
	}
	l.open = nil
}
