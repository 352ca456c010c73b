package settings

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const hoursForm = `hours and calls a minute in them, such as "08-20 300, 22-24 500"`

var hoursRange = regexp.MustCompile(`^([0-9]{1,2})-([0-9]{1,2})\s+(-?[0-9]+)$`)

// parseHours reads rate_by_hour. A range runs from its first hour to just before
// its last one.
func parseHours(value string, most int) (rates [24]int, problem string) {
	if strings.TrimSpace(value) == "" {
		return rates, ""
	}
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		m := hoursRange.FindStringSubmatch(part)
		if m == nil {
			return rates, quote(part) + " is not hours with a rate"
		}
		from, _ := strconv.Atoi(m[1])
		to, _ := strconv.Atoi(m[2])
		rate, err := strconv.Atoi(m[3])
		switch {
		case from >= to && from <= 24:
			return rates, quote(part) + " ends before it begins; what goes over midnight is two ranges"
		case to > 24:
			return rates, quote(part) + " has no hours from 0 to 24"
		case err != nil || rate > most:
			return rates, fmt.Sprintf("%s is above rate_per_minute, which is %d", quote(part), most)
		case rate < 1:
			return rates, quote(part) + " has a rate below 1; to stop for hours, set the window"
		}
		for h := from; h < to; h++ {
			if rates[h] != 0 {
				return rates, fmt.Sprintf("%s has the hour %d of a range before it", quote(part), h)
			}
			rates[h] = rate
		}
	}
	return rates, ""
}

func (l *loader) checkHours(i int, o *Organization, value string) {
	at := slot{i, "rate_by_hour"}
	if l.faulty[at] || l.faulty[slot{i, "rate_per_minute"}] {
		return
	}
	rates, problem := parseHours(value, o.RatePerMinute)
	if problem != "" {
		l.refuse(at, l.where(at), problem, hoursForm)
		return
	}
	o.RateByHour = rates
}
