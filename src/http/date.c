#include "http/date.h"

#include <string.h>

#include "base/check.h"

static void two_digits(char *at, unsigned n)
{
	at[0] = (char)('0' + n / 10);
	at[1] = (char)('0' + n % 10);
}

/* The Gregorian date of a day counted from 1970-01-01. Computed in years that begin in
 * March, so that the leap day is the last day of its year. */
static void date_of_day(uint64_t day, unsigned *year, unsigned *month, unsigned *mday)
{
	uint64_t d = day + 719468, era = d / 146097;
	unsigned in_era = (unsigned)(d % 146097);
	unsigned y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	unsigned in_year = in_era - (365 * y + y / 4 - y / 100);
	unsigned m = (5 * in_year + 2) / 153;

	*mday = in_year - (153 * m + 2) / 5 + 1;
	*month = m < 10 ? m + 2 : m - 10;
	*year = (unsigned)(era * 400) + y + (m >= 10 ? 1 : 0);
}

void date_text(char text[DATE_TEXT_MAX], uint64_t wall_ms)
{
	uint64_t seconds = wall_ms / 1000, day = seconds / 86400;
	unsigned clock = (unsigned)(seconds % 86400), year, month, mday;

	date_of_day(day, &year, &month, &mday);
	ASSERT(year <= 9999);
	memcpy(text, "Thu, 01 Jan 1970 00:00:00 GMT", DATE_TEXT_MAX);
	memcpy(text, &"ThuFriSatSunMonTueWed"[day % 7 * 3], 3);
	two_digits(text + 5, mday);
	memcpy(text + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[(size_t)month * 3], 3);
	two_digits(text + 12, year / 100);
	two_digits(text + 14, year % 100);
	two_digits(text + 17, clock / 3600);
	two_digits(text + 20, clock / 60 % 60);
	two_digits(text + 23, clock % 60);
}
