package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

func newLayerCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "layer",
		Short: "Turn image layers into verity disks, and check them",
		Long: `A layer disk is an ext4 file system, its dm-verity superblock and hash tree. It depends on the layer's bytes alone, and its
root hash is the one that policies name.`,
	})
	cmd.AddCommand(newLayerBuildCommand(), newLayerVerifyCommand(), newLayerRootCommand())
	return cmd
}

var diffIDForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func newLayerBuildCommand() *cobra.Command {
	var out, diffID string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "build LAYER -o DISK",
		Short: "Convert an OCI layer (tar, plain or compressed with gzip or zstd) into a verity disk",
		Example: `  tar -cf layer.tar demo && cloister layer build layer.tar -o layer.disk
  tar -cz demo | cloister layer build - -o layer.disk
  cloister layer build layer.tar --diff-id sha256:$(sha256sum layer.tar | cut -d' ' -f1) -o layer.disk --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || out == "" {
				return &usageError{errors.New("layer build: want one LAYER (a file, or - for standard input) and -o DISK")}
			}
			if diffID != "" && !diffIDForm.MatchString(diffID) {
				return &usageError{fmt.Errorf("layer build: --diff-id: got %.80q, want sha256: and 64 lower-case hex digits", diffID)}
			}
			res, err := buildLayer(cmd.Context(), args[0], cmd.InOrStdin(), out, diffID)
			if err != nil {
				return err
			}
			if asJSON {
				return printLayerJSON(cmd.OutOrStdout(), res)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), res.RootHash)
			return err
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "disk to write; it appears when it is whole")
	cmd.Flags().StringVar(&diffID, "diff-id", "", "refuse a layer whose uncompressed bytes have another digest (sha256:HEX)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print root hash, diff id and sizes as JSON")
	return cmd
}

// buildLayer writes to a temporary file beside the disk and renames it: a disk of the right name is always whole.
func buildLayer(ctx context.Context, in string, stdin io.Reader, out, diffID string) (_ layer.Result, err error) {
	if in != "-" {
		f, err := os.Open(in)
		if err != nil {
			return layer.Result{}, err
		}
		defer f.Close()
		stdin = f
	}
	tmp, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+"-*")
	if err != nil {
		return layer.Result{}, err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	res, err := layer.Convert(ctx, stdin, tmp, layer.Options{DiffID: diffID})
	if err != nil {
		return layer.Result{}, err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return layer.Result{}, err
	}
	return res, os.Rename(tmp.Name(), out)
}

// layerInfo is what verify and root print with --json.
type layerInfo struct {
	RootHash   verity.Hash       `json:"root_hash"`
	FileSystem verity.FileSystem `json:"file_system"`
	DataSize   int64             `json:"data_size"`
	Size       int64             `json:"size"`
	Verified   bool              `json:"verified"` // every block was compared with the tree
}

func newLayerVerifyCommand() *cobra.Command {
	var root string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify DISK",
		Short: "Check every block of a disk against its tree, and the tree against a root hash",
		Example: `  cloister layer verify layer.disk
  cloister layer verify layer.disk --root $(cloister layer root layer.disk)`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{errors.New("layer verify: want one DISK")}
			}
			var want *verity.Hash
			if root != "" {
				h, err := verity.ParseHash(root)
				if err != nil {
					return &usageError{fmt.Errorf("layer verify: --root: %w", err)}
				}
				want = &h
			}
			img, err := layer.InspectFile(cmd.Context(), args[0], true)
			if err != nil {
				return fmt.Errorf("layer verify %q: %w", args[0], err)
			}
			if want != nil && img.Root != *want {
				return fmt.Errorf("layer verify %q: root hash: got %s, want %s", args[0], img.Root, want)
			}
			return printLayer(cmd.OutOrStdout(), img, true, asJSON)
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "root hash the disk must have (64 hex digits)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was found as JSON")
	return cmd
}

func newLayerRootCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "root DISK",
		Short: "Print the root hash of a disk, as the guest computes it from superblock and top tree block",
		Long: `Root prints the root hash that the disk's superblock and top tree block give: the one policies name. It does not check the
data or the rest of the tree: "cloister layer verify" does.`,
		Example: `  cloister layer root layer.disk
  cloister layer root layer.disk --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{errors.New("layer root: want one DISK")}
			}
			img, err := layer.InspectFile(cmd.Context(), args[0], false)
			if err != nil {
				return fmt.Errorf("layer root %q: %w", args[0], err)
			}
			return printLayer(cmd.OutOrStdout(), img, false, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was found as JSON")
	return cmd
}

func printLayer(w io.Writer, img *verity.Image, verified, asJSON bool) error {
	if asJSON {
		return printLayerJSON(w, layerInfo{img.Root, img.FS, img.DataSize(), img.DiskSize(), verified})
	}
	ok := ""
	if verified {
		ok = "ok "
	}
	_, err := fmt.Fprintf(w, "%s%s\n", ok, img.Root)
	return err
}

func printLayerJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
