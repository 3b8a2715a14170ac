package evidence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/evidence"
	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/verify"
)

const (
	layerA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	layerB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// container is a definition with the members that the tests change.
type container struct {
	name, command, layers, mounts, capabilities, elevated string
}

func attested() container {
	return container{name: "web", command: `["/bin/web"]`, layers: `["` + layerA + `", "` + layerB + `"]`, mounts: mount("cloister://attest"), capabilities: "null", elevated: "false"}
}

func mount(source string) string {
	return fmt.Sprintf(`{"destination": "/run/cloister/attest", "options": ["rbind", "ro"], "source": %q, "type": "bind"}`, source)
}

func (c container) String() string {
	return fmt.Sprintf(`{"allow_elevated": %s, "allow_stdio_access": true, "capabilities": %s, "command": %s, "env_rules": [], "exec_processes": [], "id": %q, "layers": %s, `+
		`"mounts": [%s], "name": %q, "no_new_privileges": true, "seccomp_profile_sha256": "", "signals": [], "user": {"group_idnames": [], "umask": "0022", `+
		`"user_idname": {"pattern": "", "strategy": "any"}}, "working_dir": "/"}`, c.elevated, c.capabilities, c.command, "id-"+c.name, c.layers, c.mounts, c.name)
}

// policy is a plain policy over containers, with more definitions.
func policy(more string, containers ...container) string {
	var list []string
	for _, c := range containers {
		list = append(list, c.String())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "package policy\n\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\n\ncontainers := [%s]\n%s\n", strings.Join(list, ",\n"), more)
	for _, p := range enforcer.Points() {
		fmt.Fprintf(&b, "%s := data.framework.%s\n", p.Point, p.Point)
	}
	return b.String()
}

// withoutExec is a policy of some api version without a rule for exec_in_container.
func withoutExec(text, api string) string {
	text = strings.Replace(text, "exec_in_container := data.framework.exec_in_container\n", "", 1)
	return strings.Replace(text, `api_version := "0.12.0"`, `api_version := "`+api+`"`, 1)
}

func changed(f func(*container)) container {
	c := attested()
	f(&c)
	return c
}

func TestIdentity(t *testing.T) {
	caps := func(set string) container {
		return changed(func(c *container) {
			c.capabilities = `{"ambient": [], "bounding": [` + set + `], "effective": [], "inheritable": [], "permitted": []}`
		})
	}
	mounts := func(source string) container { return changed(func(c *container) { c.mounts += ", " + mount(source) }) }
	fragment := func(includes string) string {
		return `fragments := [{"feed": "f", "includes": [` + includes + `], "issuer": "did:x509:i", "minimum_svn": "1"}]`
	}
	for _, c := range []struct{ name, text, want string }{
		{"one-granted", policy("", attested()), ""},
		{"keys-granted", policy("", changed(func(c *container) { c.mounts = mount("cloister://keys") })), ""},
		{"one-of-two", policy("", changed(func(c *container) { c.mounts = "" }), attested()), ""},
		{"granted-to-all", policy(`platform_rules := [{"mounts": [`+mount("cloister://attest")+`]}]`, changed(func(c *container) { c.mounts = "" })), ""},
		{"usual-capabilities", policy("", caps(`"CAP_KILL", "CAP_NET_ADMIN", "CAP_MKNOD"`)), ""},
		{"pattern-of-its-own-directory", policy("", mounts("sandbox:///data/.+")), ""},
		{"fragments-without-containers", policy(fragment(`"external_processes"`), attested()), ""},

		{"no-grant", policy("", changed(func(c *container) { c.mounts = "" })), "names no cloister:// grant"},
		{"grant-in-comment", policy("# cloister://attest", changed(func(c *container) { c.mounts = "" })), "names no cloister:// grant"},
		{"grant-in-disguise", strings.Replace(policy("", attested()), "cloister://attest", `cloister:\u002f/attest`, 1), "names no cloister:// grant"},
		{"unknown-grant", policy("", changed(func(c *container) { c.mounts = mount("cloister://other") })), "names no cloister:// grant"},
		{"device-granted", policy("", mounts("cloister://sev-guest")), "container 0 is granted cloister://sev-guest"},
		{"device-granted-to-other", policy("", attested(), mounts("cloister://sev-guest")), "container 1 is granted cloister://sev-guest"},
		{"device-in-disguise", strings.Replace(policy("", mounts("cloister://sev-guest")), "cloister://sev-guest", `cloister:\u002f/sev-guest`, 1), "container 0 is granted"},
		{"device-and-more", policy("", mounts("cloister://sev-guest/0")), "container 0 is granted"},
		{"device-by-pattern", policy("", mounts("sandbox:///x|cloister://sev-guest")), "container 0 is granted"},
		{"device-by-pattern-of-huge-pages", policy("", mounts("hugepages:///x|.*sev-guest")), "container 0 is granted"},
		{"pattern-that-does-not-compile", policy("", mounts("sandbox:///(")), "container 0 is granted"},
		{"device-granted-to-all", policy(`platform_rules := [{"mounts": [`+mount("cloister://sev-guest")+`]}]`, attested()), "platform rule 0 grants"},
		{"elevated", policy("", attested(), changed(func(c *container) { c.elevated, c.mounts = "true", "" })), "container 1 may be elevated"},
		{"sys-admin", policy("", caps(`"CAP_SYS_ADMIN"`)), "container 0 may have CAP_SYS_ADMIN"},
		{"ptrace", policy("", caps(`"CAP_KILL", "CAP_SYS_PTRACE"`)), "container 0 may have CAP_SYS_PTRACE"},
		{"capability-misspelt", policy("", caps(`"cap_sys_admin"`)), "container 0 may have cap_sys_admin"},
		{"fragments-with-containers", policy(fragment(`"containers"`), attested()), "fragment 0 may add containers"},
		{"fragments-with-fragments", policy(fragment(`"fragments"`), attested()), "fragment 0 may add fragments"},
		{"fragments-with-rules", policy(fragment(`"platform_rules"`), attested()), "fragment 0 may add platform_rules"},
		{"own-rule", policy("extra := 1 if true", attested()), "not plain"},
		{"own-create", strings.Replace(policy("", attested()), "create_container := data.framework.create_container", `create_container := {"allowed": true}`, 1), "not plain"},
		{"other-dialect", "package agent_policy\n\n# cloister://attest\ndefault AllowRequestsFailingPolicy := true\n", "not plain"},
		{"empty", "", "not plain"},
		{"older-than-exec", withoutExec(policy("", attested()), "0.1.0"), "so old that any process"},
		{"new-and-no-exec", withoutExec(policy("", attested()), "0.12.0"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := evidence.ReadPolicy([]byte(c.text)).Identity()
			want := verify.IdentityPod
			if c.want == "" {
				want = verify.IdentityContainer
			}
			if got != want || !strings.Contains(why, c.want) || (why == "") != (c.want == "") {
				t.Errorf("got %s, %q, want %s, %q", got, why, want, c.want)
			}
		})
	}
}

// web is the preimage of the second container, with the layers as an overlay is decided: top first.
func web() *identity.Preimage {
	return &identity.Preimage{
		Entries: []identity.Entry{{Index: 1}}, Args: identity.ArgsDigest([]string{"/bin/web"}),
		Layers: [][32]byte{[32]byte(slices.Repeat([]byte{0xbb}, 32)), [32]byte(slices.Repeat([]byte{0xaa}, 32))},
	}
}

func TestCheckEntries(t *testing.T) {
	first, second, twin := attested(), attested(), attested()
	first.command, first.name = `["/bin/first"]`, "first"
	twin.name = ""
	null := attested()
	null.command = "null"
	text := policy(`fragments := [{"feed": "f", "includes": ["containers"], "issuer": "did:x509:i", "minimum_svn": "1"},
		{"feed": "g", "includes": ["external_processes"], "issuer": "did:x509:i", "minimum_svn": "1"}]`, first, second, twin, null)
	from := func(issuer, feed string) identity.Entry {
		return identity.Entry{Fragment: &identity.Fragment{Issuer: issuer, Feed: feed, SVN: "1"}, Index: 99}
	}
	for _, c := range []struct {
		name string
		edit func(*identity.Preimage)
		want string // in the error, "" for none
	}{
		{"exact", func(*identity.Preimage) {}, ""},
		{"twins", func(p *identity.Preimage) { p.Entries = append(p.Entries, identity.Entry{Index: 2}) }, ""},
		{"of-a-fragment", func(p *identity.Preimage) { p.Entries = []identity.Entry{from("did:x509:i", "f")} }, ""},
		{"no-entries", func(p *identity.Preimage) { p.Entries = nil }, "no entry"},
		{"behind-the-last", func(p *identity.Preimage) { p.Entries[0].Index = 4 }, "the policy has 4 containers"},
		{"far-behind-the-last", func(p *identity.Preimage) { p.Entries[0].Index = 1<<32 - 1 }, "the policy has 4 containers"},
		{"one-of-two", func(p *identity.Preimage) { p.Entries = append(p.Entries, identity.Entry{Index: 7}) }, "entry 7"},
		{"another-command", func(p *identity.Preimage) { p.Entries[0].Index = 0 }, "not its command"},
		{"command-null", func(p *identity.Preimage) { p.Entries[0].Index = 3; p.Args = identity.ArgsDigest(nil) }, "not its command"},
		{"layer-missing", func(p *identity.Preimage) { p.Layers = p.Layers[:1] }, "1 layers that are not its 2"},
		{"layers-turned-round", func(p *identity.Preimage) { slices.Reverse(p.Layers) }, "not its 2"},
		{"other-issuer", func(p *identity.Preimage) { p.Entries = []identity.Entry{from("did:x509:j", "f")} }, "allows no containers"},
		{"other-feed", func(p *identity.Preimage) { p.Entries = []identity.Entry{from("did:x509:i", "h")} }, "allows no containers"},
		{"fragment-without-containers", func(p *identity.Preimage) { p.Entries = []identity.Entry{from("did:x509:i", "g")} }, "allows no containers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := web()
			c.edit(p)
			err := evidence.ReadPolicy([]byte(text)).CheckEntries(p)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	none := web()
	none.Entries = nil
	for name, text := range map[string]string{"not plain": "package policy\nx := 1", "too old": withoutExec(text, "0.1.0")} {
		if err := evidence.ReadPolicy([]byte(text)).CheckEntries(web()); err == nil {
			t.Errorf("a policy that is %s has entries", name)
		}
		if err := evidence.ReadPolicy([]byte(text)).CheckEntries(none); err != nil {
			t.Errorf("no entries under a policy that is %s: %v", name, err)
		}
	}
	nested := strings.Replace(text, `["external_processes"]`, `["fragments"]`, 1)
	p := web()
	p.Entries = []identity.Entry{from("did:x509:unknown", "unknown")}
	if err := evidence.ReadPolicy([]byte(nested)).CheckEntries(p); err != nil {
		t.Errorf("a fragment that another fragment may allow: %v", err)
	}
}

func TestNames(t *testing.T) {
	unnamed := attested()
	unnamed.name = ""
	text := strings.Replace(policy("", attested(), unnamed), `"id-"`, `"the-id"`, 1)
	pre := &identity.Preimage{Entries: []identity.Entry{{Index: 0}, {Index: 1}, {Index: 5}, {Index: 2, Fragment: &identity.Fragment{Issuer: "i", Feed: "f", SVN: "3"}}}}
	want := []string{`entry 0 "web"`, `entry 1 "the-id"`, "entry 5", "entry 2 of fragment i f 3"}
	if got := evidence.ReadPolicy([]byte(text)).Names(pre); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := evidence.ReadPolicy(nil).Names(pre); got[0] != "entry 0" {
		t.Errorf("got %q of a policy that cannot be read", got)
	}
}

// TestReadPolicyIsBounded: a sender's text of a size that would cost gigabytes to read is no container's; the relying party's own is read.
func TestReadPolicyIsBounded(t *testing.T) {
	long := []byte(strings.Repeat("#", evidence.MaxPolicy) + "\n")
	p := evidence.ReadPolicy(long)
	if id, why := p.Identity(); id != verify.IdentityPod || !strings.Contains(why, "want at most 4194304") {
		t.Errorf("got %s, %q, want the pod's for its size", id, why)
	}
	if err := p.CheckEntries(&identity.Preimage{Entries: []identity.Entry{{}}}); err == nil || !strings.Contains(err.Error(), "want at most 4194304") {
		t.Errorf("entries: got %v, want a refusal for the size", err)
	}
	for name, p := range map[string]*evidence.Policy{"longest": evidence.ReadPolicy(long[1:]), "approved": evidence.ReadApproved(long)} {
		if _, why := p.Identity(); strings.Contains(why, "want at most") {
			t.Errorf("%s: got %q, want it read", name, why)
		}
	}
}
