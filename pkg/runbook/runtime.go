package runbook

import (
	"slices"
	"strings"
)

// Runtime is a language that runnable blocks can be written in. A new one is
// one entry in the table below, plus the image that holds it.
type Runtime struct {
	// Name is the canonical name, which the API reports.
	Name string
	// Label is the name for people.
	Label string
	// Aliases are the other names a document may use.
	Aliases []string
	// Extension is that of a script, with its dot.
	Extension string
	// Command runs a script; the script's file, and for Go the files it is
	// compiled with, are appended as arguments.
	Command []string
	// VersionCommand prints the version on the first line of its output.
	VersionCommand []string
}

var runtimes = []Runtime{
	{
		Name:           "python",
		Label:          "Python 3",
		Aliases:        []string{"py", "python3"},
		Extension:      ".py",
		Command:        []string{"python3", "-u"},
		VersionCommand: []string{"python3", "--version"},
	},
	{
		Name:           "node",
		Label:          "Node.js",
		Aliases:        []string{"js", "javascript"},
		Extension:      ".js",
		Command:        []string{"node"},
		VersionCommand: []string{"node", "--version"},
	},
	{
		Name:           "bash",
		Label:          "Bash",
		Aliases:        []string{"sh", "shell"},
		Extension:      ".sh",
		Command:        []string{"bash"},
		VersionCommand: []string{"bash", "--version"},
	},
	{
		Name:           golang,
		Label:          "Go",
		Aliases:        []string{"go"},
		Extension:      ".go",
		Command:        []string{"go", "run"},
		VersionCommand: []string{"go", "version"},
	},
}

// golang is the one runtime whose blocks are compiled with other files.
const golang = "golang"

// Runtimes returns all runtimes in the order in which they are shown. The
// result belongs to the caller.
func Runtimes() []Runtime {
	all := make([]Runtime, len(runtimes))
	for i, r := range runtimes {
		all[i] = r.clone()
	}
	return all
}

// FindRuntime looks a runtime up by its name or one of its aliases, in any
// case.
func FindRuntime(nameOrAlias string) (Runtime, bool) {
	for _, r := range runtimes {
		if r.isCalled(nameOrAlias) {
			return r.clone(), true
		}
	}
	return Runtime{}, false
}

func (r Runtime) isCalled(name string) bool {
	return strings.EqualFold(name, r.Name) ||
		slices.ContainsFunc(r.Aliases, func(alias string) bool { return strings.EqualFold(name, alias) })
}

func (r Runtime) clone() Runtime {
	r.Aliases = slices.Clone(r.Aliases)
	r.Command = slices.Clone(r.Command)
	r.VersionCommand = slices.Clone(r.VersionCommand)
	return r
}

// runtimeNames lists the canonical names for a sentence: "a, b, c or d".
func runtimeNames() string {
	names := make([]string, len(runtimes))
	for i, r := range runtimes {
		names[i] = r.Name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
