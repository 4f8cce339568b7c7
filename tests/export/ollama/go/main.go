// Renders Go templates as Ollama's template.Execute does (template/template.go): one JSON object
// {"template": …, "messages": [{"role": …, "content": …}], "system": …} a line on stdin, one JSON
// string a line on stdout.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
)

type asked struct {
	Template string
	System   string
	Messages []*message
}

type message struct {
	Role    string
	Content string
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var one asked
		check(json.Unmarshal(lines.Bytes(), &one))
		answer, err := json.Marshal(one.prompt())
		check(err)
		fmt.Println(string(answer))
	}
	check(lines.Err())
}

func (one asked) prompt() string {
	messages := one.Messages
	if one.System != "" && len(messages) > 0 && messages[0].Role != "system" {
		messages = append([]*message{{Role: "system", Content: one.System}}, messages...)
	}
	var system []string
	var together []*message
	for _, each := range messages {
		if each.Role == "system" {
			system = append(system, each.Content)
		}
		if n := len(together); n > 0 && together[n-1].Role == each.Role {
			together[n-1].Content += "\n\n" + each.Content
		} else {
			together = append(together, each)
		}
	}
	parsed, err := template.New("").Option("missingkey=zero").Parse(one.Template)
	check(err)
	var text strings.Builder
	check(parsed.Execute(&text, map[string]any{
		"System": strings.Join(system, "\n\n"), "Messages": together, "Response": "",
	}))
	return text.String()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
