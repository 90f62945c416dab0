package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	sectionBegin = "<!-- measured:begin -->"
	sectionEnd   = "<!-- measured:end -->"

	pictureTitle = "What ssebridge costs as the work grows"
)

// replaceSection puts text between the markers of a README.
func replaceSection(readme, text string) (string, error) {
	if strings.Count(readme, sectionBegin) != 1 || strings.Count(readme, sectionEnd) != 1 {
		return "", errors.New("it must have the lines " + sectionBegin + " and " + sectionEnd + " once each: put them where the figures belong")
	}
	before, rest, _ := strings.Cut(readme, sectionBegin)
	_, after, found := strings.Cut(rest, sectionEnd)
	if !found {
		return "", errors.New("the line " + sectionEnd + " stands above " + sectionBegin + ": exchange them")
	}
	return before + sectionBegin + "\n" + text + sectionEnd + after, nil
}

// section writes what was measured, in Markdown.
func section(r *results, picture string) string {
	var text strings.Builder
	if r.Rows != nil {
		text.WriteString(rowsText(r.Rows))
	}
	if r.Stages != nil {
		text.WriteString(stagesText(r.Stages))
	}
	if r.Growth != nil {
		fmt.Fprintf(&text, "\n![%s](%s)\n\n%s", pictureTitle, picture, paragraph(growthCaption(r.Growth)+" "+takenText(&r.Growth.Taken)))
	}
	if text.Len() > 0 {
		return strings.TrimLeft(text.String(), "\n")
	}
	return ""
}

func takenText(t *taken) string { return fmt.Sprintf("%s, `%s`.", t, t.Command) }

// paragraph breaks text into lines as the rest of the README has them.
func paragraph(text string) string {
	const width = 128
	var broken strings.Builder
	length := 0
	for word := range strings.FieldsSeq(text) {
		long := utf8.RuneCountInString(word)
		switch {
		case length == 0:
		case length+1+long > width:
			broken.WriteString("\n")
			length = 0
		default:
			broken.WriteString(" ")
			length++
		}
		broken.WriteString(word)
		length += long
	}
	return broken.String() + "\n"
}

func rowsText(part *rowsPart) string {
	var text strings.Builder
	runs := "one run"
	if part.Count > 1 {
		runs = fmt.Sprintf("medians of %d runs, floor and bridge in turn, and in parentheses the least and the most", part.Count)
	}
	tried := ""
	if part.Quick {
		tried = "**Tried with `-quick`: a twentieth of the work that a row names, for half a second. These figures mean nothing.** "
	}
	text.WriteString(paragraph(fmt.Sprintf("%s`ssebridge serve --dev` with an empty log, measured by `ssebridge bench --pid …` with the flags of "+
		"each row; events of 200 bytes; %s. %s", tried, runs, takenText(&part.Taken))) + "\n")
	text.WriteString("| work | cores | | floor | ssebridge | ratio | budget |\n|---|---|---|---|---|---|---|\n")
	var floors []string
	for i := range part.Rows {
		row := &part.Rows[i]
		head := fmt.Sprintf("%s<br>`%s`", row.Name, row.Flags)
		if row.Floor != "" {
			at := slices.Index(floors, row.Floor)
			if at < 0 {
				at = len(floors)
				floors = append(floors, row.Floor)
			}
			head += fmt.Sprintf("<br>floor %d", at+1)
		}
		if row.Fault != "" {
			fmt.Fprintf(&text, "| %s | %d | not measured: %s | | | | |\n", cell(head), row.Processors, cell(row.Fault))
		}
		for n, line := range row.Lines {
			cores := strconv.Itoa(row.Processors)
			if n > 0 {
				head, cores = "", ""
			}
			fmt.Fprintf(&text, "| %s | %s | %s | %s | %s | %s | %s |\n", cell(head), cores, cell(line.What), spreadText(line.Floor, line.Unit),
				spreadText(&line.Bridge, line.Unit), spreadText(line.Ratio, ""), budgetText(&line, part.Quick))
		}
	}
	text.WriteString("\n")
	var notes strings.Builder
	for i, floor := range floors {
		fmt.Fprintf(&notes, "Floor %d: %s. ", i+1, floor)
	}
	notes.WriteString("A ratio is that of the bridge to the floor of the same run. Nothing was lost, repeated or outstanding in any run; " +
		"events end to end are counted until the last delivery has come. ")
	if part.Shared {
		notes.WriteString("Beside a bridge on one core, what measures it has the other one; it shares both with a bridge on two.")
	} else {
		notes.WriteString("What measures has a core of its own.")
	}
	text.WriteString(paragraph(notes.String()))
	return text.String()
}

// cell writes text for a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func spreadText(s *spread, unit string) string {
	if s == nil {
		return "–"
	}
	median := number(s.Median)
	if unit != "" {
		median = quantity(s.Median, unit)
	}
	low, high := number(s.Min), number(s.Max)
	if low == high {
		return median
	}
	return fmt.Sprintf("%s (%s to %s)", median, low, high)
}

func budgetText(l *lineResult, quick bool) string {
	if l.Budget != "" && !l.Met && !quick {
		return l.Budget + ": **missed**"
	}
	return l.Budget
}

// stagesText writes the stages of all work, those first that take most of the first.
func stagesText(part *stagesPart) string {
	if len(part.Work) == 0 {
		return ""
	}
	var text, head, rule, total strings.Builder
	var names []string
	for i := range part.Work {
		w := &part.Work[i]
		fmt.Fprintf(&head, " %s<br>`%s` | |", w.Name, cell(w.Flags))
		rule.WriteString("---:|---:|")
		fmt.Fprintf(&total, " **%s** | **100 %%** |", quantity(w.CPU, "µs"))
		for _, s := range w.Shares {
			if !slices.Contains(names, s.Stage) {
				names = append(names, s.Stage)
			}
		}
	}
	text.WriteString("\n" + paragraph("CPU time of the bridge for one event, by stage: the share of a stage in the samples of a CPU profile, of all that "+
		"the process took. Allocating counts for the stage that allocates, and collecting apart. "+takenText(&part.Taken)) + "\n")
	fmt.Fprintf(&text, "| stage |%s\n|---|%s\n", head.String(), rule.String())
	for _, name := range names {
		fmt.Fprintf(&text, "| %s |", name)
		for i := range part.Work {
			w := &part.Work[i]
			if share := w.of(name); share > 0 {
				fmt.Fprintf(&text, " %s | %.1f %% |", quantity(share*w.CPU, "µs"), 100*share)
			} else {
				text.WriteString(" – | – |")
			}
		}
		text.WriteString("\n")
	}
	fmt.Fprintf(&text, "| **all** |%s\n", total.String())
	return text.String()
}
