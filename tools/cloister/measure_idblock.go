package main

import (
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/measure/idblock"
)

// Files of an ID block, in its directory.
const (
	fileIDBlock = "id-block.bin"
	fileIDAuth  = "id-auth.bin"
)

// idBlockFlags is the command line of "cloister measure id-block".
type idBlockFlags struct {
	out, digest, idKey, authorKey string
	family, image, policy         string
	svn                           uint32
	asJSON                        bool
}

func newIDBlockCommand() *cobra.Command {
	var o idBlockFlags
	cmd := &cobra.Command{
		Use:   "id-block --measurement DIGEST --id-key FILE -o DIR",
		Short: "Make and sign the ID block of a launch",
		Long: `Id-block writes ` + fileIDBlock + ` (96 bytes) and ` + fileIDAuth + ` (4096 bytes) to DIR. The firmware ends a launch that measures to anything
else, or whose guest policy is another, and reports carry the digests of the keys, so that a relying party can accept
whatever a key has signed. Keys are ECDSA P-384 in PEM, for example from
"openssl ecparam -name secp384r1 -genkey -noout -out id-key.pem". The same arguments give the same bytes.

QEMU takes both in base64, as sev-snp-guest's id-block= and id-auth=, with author-key-enabled=on if there is an author's key.`,
		Example: `  cloister measure id-block --measurement $(cloister measure --guest out/guest-production --firmware OVMF.amdsev.fd --vcpus 2) \
      --id-key id-key.pem --author-key author-key.pem --svn 3 -o out/id-2
  cloister measure id-block show out/id-2 --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.out, "output", "o", "", "directory to write")
	f.StringVar(&o.digest, "measurement", "", "launch digest, 96 hex digits")
	f.StringVar(&o.idKey, "id-key", "", "private key that signs the block, PEM")
	f.StringVar(&o.authorKey, "author-key", "", "private key that signs the id key, PEM")
	f.StringVar(&o.family, "family-id", "", "family of the image, up to 32 hex digits, zeros after them; reports carry it")
	f.StringVar(&o.image, "image-id", "", "image, likewise; reports carry it")
	f.Uint32Var(&o.svn, "svn", 0, "the image's security version; reports carry it")
	f.StringVar(&o.policy, "policy", "0x30000", "guest policy of the launch")
	f.BoolVar(&o.asJSON, "json", false, "print JSON, with both structures in base64")
	cmd.AddCommand(newIDBlockShowCommand())
	return cmd
}

func (o *idBlockFlags) run(w io.Writer) error {
	for _, needed := range []struct{ flag, value string }{{"measurement", o.digest}, {"id-key", o.idKey}, {"output", o.out}} {
		if needed.value == "" {
			return &usageError{fmt.Errorf("measure id-block: --%s is needed", needed.flag)}
		}
	}
	b, err := o.block()
	if err != nil {
		return err
	}
	auth, err := o.sign(b)
	if err != nil {
		return err
	}
	raw, err := auth.Marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(o.out, fileIDBlock), b.Marshal(), 0o644), os.WriteFile(filepath.Join(o.out, fileIDAuth), raw, 0o644)); err != nil {
		return err
	}
	return printIDBlock(w, b, auth, raw, o.asJSON)
}

func (o *idBlockFlags) block() (*idblock.Block, error) {
	b := &idblock.Block{GuestSVN: o.svn}
	var err error
	if b.LaunchDigest, err = measure.ParseDigest(o.digest); err != nil {
		return nil, &usageError{fmt.Errorf("--measurement: %w", err)}
	}
	if b.Policy, err = strconv.ParseUint(o.policy, 0, 64); err != nil {
		return nil, &usageError{fmt.Errorf("--policy: got %.32q, want a number", o.policy)}
	}
	for _, id := range []struct {
		flag, text string
		to         []byte
	}{{"family-id", o.family, b.FamilyID[:]}, {"image-id", o.image, b.ImageID[:]}} {
		raw, err := hex.DecodeString(id.text)
		if err != nil || len(raw) > len(id.to) {
			return nil, &usageError{fmt.Errorf("--%s: got %.64q, want up to %d hex digits", id.flag, id.text, 2*len(id.to))}
		}
		copy(id.to, raw)
	}
	if err := b.Check(); err != nil {
		return nil, &usageError{fmt.Errorf("--policy: %w", err)}
	}
	return b, nil
}

func (o *idBlockFlags) sign(b *idblock.Block) (*idblock.Auth, error) {
	id, err := readECDSAKey(o.idKey)
	if err != nil {
		return nil, err
	}
	var author *ecdsa.PrivateKey
	if o.authorKey != "" {
		if author, err = readECDSAKey(o.authorKey); err != nil {
			return nil, err
		}
	}
	return idblock.Sign(b, id, author)
}

func newIDBlockShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show DIR",
		Short:   "Show an ID block and check its signatures",
		Example: `  cloister measure id-block show out/id-2`,
		Args:    exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := os.ReadFile(filepath.Join(args[0], fileIDBlock))
			if err != nil {
				return err
			}
			b, err := idblock.ParseBlock(raw)
			if err != nil {
				return err
			}
			if raw, err = os.ReadFile(filepath.Join(args[0], fileIDAuth)); err != nil {
				return err
			}
			auth, err := idblock.ParseAuth(raw)
			if err != nil {
				return err
			}
			if err := auth.Verify(b); err != nil {
				return err
			}
			if err := printIDBlock(cmd.OutOrStdout(), b, auth, raw, asJSON); err != nil || asJSON {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "signatures         good")
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with both structures in base64")
	return cmd
}

// shownIDBlock is what is printed of an ID block whose signatures verify.
type shownIDBlock struct {
	LaunchDigest    string `json:"measurement"`
	FamilyID        string `json:"family_id"`
	ImageID         string `json:"image_id"`
	GuestSVN        uint32 `json:"guest_svn"`
	Policy          string `json:"policy"`
	IDKeyDigest     string `json:"id_key_digest"`
	AuthorKeyDigest string `json:"author_key_digest,omitempty"`
	IDBlock         string `json:"id_block"`
	IDAuth          string `json:"id_auth"`
}

func printIDBlock(w io.Writer, b *idblock.Block, auth *idblock.Auth, raw []byte, asJSON bool) error {
	s := shownIDBlock{
		LaunchDigest: b.LaunchDigest.String(), FamilyID: hex.EncodeToString(b.FamilyID[:]), ImageID: hex.EncodeToString(b.ImageID[:]), GuestSVN: b.GuestSVN,
		Policy: fmt.Sprintf("%#x", b.Policy), IDBlock: idblock.Text(b.Marshal()), IDAuth: idblock.Text(raw),
	}
	id, err := idblock.KeyDigest(auth.IDKey)
	if err != nil {
		return err
	}
	s.IDKeyDigest = id.String()
	author := "none"
	if auth.AuthorKey != nil {
		d, err := idblock.KeyDigest(auth.AuthorKey)
		if err != nil {
			return err
		}
		s.AuthorKeyDigest, author = d.String(), d.String()
	}
	if asJSON {
		return encodeJSON(w, s)
	}
	_, err = fmt.Fprintf(w, "measurement        %s\nfamily_id          %s\nimage_id           %s\nguest_svn          %d\npolicy             %s\nid_key_digest      %s\nauthor_key_digest  %s\n",
		s.LaunchDigest, s.FamilyID, s.ImageID, s.GuestSVN, s.Policy, s.IDKeyDigest, author)
	return err
}
