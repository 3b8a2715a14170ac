package cases

// The vocabulary is small on purpose: what two containers or a container and a mutation pick is often the same.
var (
	commands = [][]string{
		{"/bin/web"},
		{"/bin/web", "--serve"},
		{"/bin/web", "--serve", "--port=80"},
		{"python3", "-m", "http.server", "8080"},
		{"sh", "-c", "echo \"a\" && sleep 1; # <x>"},
		{"/pause"},
		{"tail", "-f", "/dev/null"},
		{"/bin/ünï"},
		{"a", ""},
	}
	execCommands = [][]string{
		{"/bin/ls"}, {"/bin/ls", "-l"}, {"/bin/sh"}, {"cat", "/proc/self/status"}, {"/bin/web"}, {"kill", "-9", "1"},
	}
	workingDirs = []string{"/", "/srv", "/app", "/srv/app"}
	umasks      = []string{"0022", "0027", "0077", "0000"}
	capNames    = []string{
		"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_BPF", "CAP_MKNOD", "CAP_SETPCAP",
	}
	signalNumbers = []int{1, 2, 9, 10, 12, 15, 0, 34}
	names         = []string{"root", "app", "staff", "nobody", "app2"}
	ids           = []string{"0", "1000", "1001", "65534"}
)

// word is an environment rule with examples of what it allows.
type word struct {
	rule  envRule
	allow []string
}

func literal(text string) word {
	return word{envRule{pattern: text, strategy: "string"}, []string{text}}
}

func re2(pattern string, allow ...string) word {
	return word{envRule{pattern: pattern, strategy: "re2"}, allow}
}

func split(name, nameStrategy, value, valueStrategy string, allow ...string) word {
	return word{envRule{split: true, name: name, nameStrategy: nameStrategy, value: value, valueStrategy: valueStrategy}, allow}
}

// groupedWords mean the same whether or not anchors hold for alternatives as a group.
var groupedWords = []word{
	literal("PATH=/usr/bin:/bin"),
	literal("TERM=xterm"),
	literal("MODE=a"),
	literal("MODE=b"),
	literal("EMPTY="),
	literal("NOVALUE"),
	literal("A=b=c"),
	literal("Q=\"<&>\\"),
	re2("(MODE=a|MODE=b)", "MODE=a", "MODE=b"),
	re2("LEVEL=[0-9]{1,3}", "LEVEL=1", "LEVEL=123"),
	re2("HOSTNAME=.+", "HOSTNAME=x", "HOSTNAME=a=b", "HOSTNAME=ä"),
	re2("(?i)(FABRIC)_.+=.+", "Fabric_X=1", "FABRIC_Y=z", "fabric_z=;"),
	re2("T(E)?MP=.*", "TMP=/tmp", "TEMP="),
	re2("IDENTITY_.+=.+", "IDENTITY_API=1", "IDENTITY_X=y=z"),
	re2("^ANCHORED=x$", "ANCHORED=x"),
	re2("^FRONT=[a-z]+", "FRONT=abc"),
	re2("BACK=[a-z]+$", "BACK=abc"),
	re2("NAME=.{1,3}", "NAME=äöü", "NAME=a"),
	re2(".+=.+", "ANY=thing", "MODE=a"),
	re2("", ""),
}

// looseWords are those that a judge without a group around the pattern, or without a check of it, reads differently.
var looseWords = []word{
	re2("MODE=a|MODE=b", "MODE=a", "MODE=b", "xMODE=b", "MODE=ax"),
	re2("PRICE=[0-9]+\\$", "PRICE=1$", "PRICE=1$x"),
	re2("(?m)LINE=a", "LINE=a", "LINE=a\nLINE=b"),
	re2("(?s)TEXT=.+", "TEXT=a\nb", "TEXT=a"),
	re2("BAD=(", "BAD="),
	re2("OUT=a)|(B=b", "OUT=a", "B=b"),
	re2("\\^UP=1", "^UP=1"),
}

// splitWords came with framework 0.5.0.
var splitWords = []word{
	split("MODE", "string", "a", "string", "MODE=a"),
	split("LEVEL", "string", "[0-9]+", "re2", "LEVEL=1", "LEVEL=42"),
	split("IDENTITY_.+", "re2", ".*", "re2", "IDENTITY_X=", "IDENTITY_Y=a=b"),
	split("T(E)?MP", "re2", "/tmp", "string", "TMP=/tmp", "TEMP=/tmp"),
	split("", "string", "x", "string", "=x"),
	split("MODE|LEVEL", "re2", "a|1", "re2", "MODE=a", "LEVEL=1", "xLEVEL=1"),
}

// strangers are variables that no rule is meant to allow, but for the widest.
var strangers = []string{"EVIL=1", "LD_PRELOAD=/x.so", "MODE=c", "MODE=ab", "xMODE=b", "MODE", "", "=", "LEVEL=1234", "HOSTNAME=", "HOSTNAME=a\nb", "PATH=/usr/bin:/bin ", "mode=a", "\u00ff=1"}

// source of a mount in a policy, with what the agent may resolve it to. %s is the container's own directory for it.
type mountWord struct {
	constraint mount
	allow      []string
}

var (
	shared  = []string{"rbind", "rshared", "rw"}
	private = []string{"rbind", "rprivate", "ro"}
)

var mountWords = []mountWord{
	{mount{"/data", "sandbox:///tmp/data/.+", "bind", shared}, []string{"S/tmp/data/x", "S/tmp/data/x/y"}},
	{mount{"/data", "sandbox:///tmp/data/.+", "bind", private}, []string{"S/tmp/data/x"}},
	{mount{"/etc/secrets", "sandbox:///tmp/atlas/secretsVolume/.+", "bind", private}, []string{"S/tmp/atlas/secretsVolume/1"}},
	{mount{"/empty", "sandbox:///tmp/atlas/emptydir/[0-9]+", "bind", shared}, []string{"S/tmp/atlas/emptydir/7"}},
	{mount{"/huge", "hugepages:///2M/p.+", "bind", shared}, []string{"H/2M/p1"}},
	{mount{"/files", "plan9://", "bind", private}, []string{"P"}},
	{mount{"/share", "plan9://", "bind", shared}, []string{"P"}},
	{mount{"/host", "/run/gcs/host", "bind", private}, []string{"/run/gcs/host"}},
	{mount{"/tmp", "tmpfs", "tmpfs", []string{"nosuid", "noexec", "size=64k"}}, []string{"tmpfs"}},
	{mount{"/none", "none", "tmpfs", []string{}}, []string{"none"}},
}

// looseMounts differ where a pattern is not grouped.
var looseMounts = []mountWord{
	{mount{"/either", "sandbox:///a|/b", "bind", shared}, []string{"S/a", "S/ax", "x/b", "/b"}},
	{mount{"/uvm", "sandbox://literal(", "bind", shared}, []string{"sandbox://literal("}},
}
