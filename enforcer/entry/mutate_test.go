package entry

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// everyField is a container with every field, and an external process.
const (
	everyField = `[{"id":"a","name":"ä","command":["/bin/a","-x"],"layers":["00ff"],"env_rules":[{"pattern":"A=\"b","strategy":"re2",` +
		`"required":true},{"name":"A","name_strategy":"string","value":"b","value_strategy":"re2"}],"mounts":[{"destination":"/d",` +
		`"options":["rbind"],"source":"sandbox://x","type":"bind"}],"exec_processes":[{"command":["ls"],"signals":[9,-15]}],` +
		`"signals":[15],"user":{"user_idname":{"pattern":"0","strategy":"id"},"group_idnames":[{"pattern":"","strategy":"any"}],` +
		`"umask":"0022"},"capabilities":{"bounding":["CAP_KILL"],"effective":[],"inheritable":[],"permitted":[],"ambient":[]},` +
		`"seccomp_profile_sha256":"","working_dir":"/","allow_elevated":false,"allow_stdio_access":true,"no_new_privileges":true},` +
		`{"command":null,"capabilities":null}]`
	everyExternal = `[{"command":["bash"],"env_rules":[{"pattern":"P=x","strategy":"string"}],"working_dir":"/","allow_stdio_access":true}]`
)

// dictionary is what mutations put into a text: what belongs there, what nearly does, and what belongs to Rego.
var dictionary = []string{
	`{`, `}`, `[`, `]`, `(`, `)`, `,`, `:`, `:=`, `=`, `;`, `.`, `-`, `+`, `|`, `&`, `#`, `# "`, "\n", "\r\n", " ", "\t", "`", "$", `$"{x}"`, `"`, `\`,
	`null`, `true`, `false`, `True`, `0`, `-0`, `00`, `9`, `-9`, `9.0`, `9e0`, `1e400`, `123456789012345678`, `1234567890123456789`, `x`, `input`,
	`data.framework.errors`, `not`, `some`, `default`, `else`, `if`, `in`, `every`, `with`, `contains`, `set()`, `[]`, `{}`, `{ input.x }`, `""`, `"a"`,
	`"ALLOW_ELEVATED":true`, `"allow_elevated":true`, `"allow_elevated"`, `"\u0061llow_elevated"`, `"command"`, `"required"`, `"umask"`, `"layers":null`,
	`"\u00e4"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\u0000"`, `"\x"`, `"\"`, `"\\"`, "\"\t\"", "\"\x00\"", "\"\x7f\"", "\"\xff\"", "\"\ufeff\"", "\"\u00a0\"", "\ufeff",
	"\u00a0", "\x00", "\nimport data.x\n", "\ncontainers := []\n", "\nx := 1\n", "\n{ false }\n", "\n[0]", "\n| []", "\n default", "\n# METADATA\n# scope: rule\n",
}

var token = regexp.MustCompile(`"(\\.|[^"\\])*"|[a-z_A-Z0-9.]+|:=|\s+|.`)

// mutate changes a text in one place or two. Half of the changes leave most texts what they are: data of the same shape.
func mutate(rng *rand.Rand, text string) string {
	tokens := token.FindAllString(text, -1)
	for range 1 + rng.IntN(2) {
		at := rng.IntN(len(tokens))
		word := dictionary[rng.IntN(len(dictionary))]
		switch rng.IntN(8) {
		case 0:
			tokens[at] = ""
		case 1:
			tokens[at] = word
		case 2:
			tokens[at] += word
		case 3:
			tokens[at] = tokens[rng.IntN(len(tokens))]
		case 4: // a stretch a second time
			end := min(len(tokens), at+1+rng.IntN(8))
			tokens[at] = strings.Join(tokens[at:end], "") + "," + tokens[at]
		case 5:
			tokens[at] = [...]string{" ", "\n", "\r\n", "\t"}[rng.IntN(4)] + tokens[at]
		default: // another value of the same kind
			for i := range tokens {
				if next := &tokens[(at+i)%len(tokens)]; (*next)[0] == '"' {
					*next = `"` + strings.Trim(word, `"`) + (*next)[1:]
					break
				}
			}
		}
		tokens = slices.DeleteFunc(tokens, func(t string) bool { return t == "" })
	}
	return strings.Join(tokens, "")
}

// TestMutations holds both readers to the engine's parser on texts that are nearly policies: most are wrong in one place.
func TestMutations(t *testing.T) {
	const seed = 4
	runs := 4000
	if raceEnabled {
		runs = 200
	}
	rng := rand.New(rand.NewPCG(seed, seed))
	literals := []string{everyField, everyExternal}
	whole := strings.Replace(base, `[{"id":"a","command":["/bin/a"],"signals":[9]}]`, everyField, 1)
	plain, fast := 0, 0
	for i := range runs {
		literal := mutate(rng, literals[i%len(literals)])
		if readerAgrees(t, []byte(literal)) {
			fast++
		}
		text := mutate(rng, whole)
		if p, err := Read([]byte(text), points); err == nil {
			plain++
			checkWhole(t, p, text)
		}
		if t.Failed() {
			t.Fatalf("run %d of seed %d:\n%s\n%s", i, seed, literal, text)
		}
	}
	t.Logf("of %d, %d were read fast, %d were plain", runs, fast, plain)
	if fast < runs/20 || plain < runs/20 {
		t.Error("too few mutations leave anything to compare")
	}
}

// TestCorpusSeeds keeps the seeds of the fuzz targets worth starting from.
func TestCorpusSeeds(t *testing.T) {
	for _, literal := range []string{everyField, everyExternal} {
		if !readerAgrees(t, []byte(literal)) {
			t.Errorf("not read fast: %s", literal)
		}
	}
	p := mustRead(t, fmt.Sprintf("package policy\ncontainers := %s\nexternal_processes := %s\n", everyField, everyExternal))
	c := p.Data.Containers[0]
	if c.Present != 1<<len(containerKeys)-1 {
		t.Errorf("fields got %b", c.Present)
	}
	if c.EnvRules[0].Pattern != `A="b` || c.Name != "ä" || c.ExecProcesses[0].Signals[1] != -15 || c.User.GroupIDNames[0].Strategy != "any" {
		t.Errorf("got %+v", c)
	}
}
