// Batch normalization in training: Ioffe and Szegedy 2015, "Batch Normalization".
//
// Values are float (rows, channels), dense: the pixels of images that are channels_last. They are read as one row of
// vectors. Where channels are not a multiple of the lanes, the channels of a vector's lanes come again after some
// vectors: what belongs to a channel is kept for each place of such a period, so that no lane is ever idle.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

constexpr long LANES = 8, FEWEST = 4, GROUP = 256;  // vectors of a period at least; periods that are summed in float
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef float Anywhere __attribute__((vector_size(4 * LANES), aligned(4)));

inline Lanes load(const float* from) { return *reinterpret_cast<const Anywhere*>(from); }
inline void store(float* to, Lanes values) { *reinterpret_cast<Anywhere*>(to) = values; }

// The values of one thread: whole periods, and for the last thread what remains.
struct Part {
    long channels, period, first, last;  // in values; `first` is at the beginning of a period
    long whole() const { return first + (last - first) / period * period; }
};

long period_of(long channels) {
    long common = std::min(channels & -channels, LANES);  // the lanes are a power of two, and so is what divides both
    long period = channels * (LANES / common);
    return period * ((FEWEST * LANES + period - 1) / period);
}

std::vector<Part> parts(long rows, long channels, int threads) {
    long period = period_of(channels), total = rows * channels, periods = total / period;
    std::vector<Part> found;
    for (int thread = 0; thread < threads; thread++)
        found.push_back({channels, period, periods * thread / threads * period,
                         thread + 1 < threads ? periods * (thread + 1) / threads * period : total});
    return found;
}

// A value of each channel, for all places of a period.
std::vector<float> spread(const std::vector<float>& of_channels, long period) {
    std::vector<float> places(period);
    for (long place = 0; place < period; place++) places[place] = of_channels[place % of_channels.size()];
    return places;
}

// Sums over rows of two terms of each value: `term(i, place, first, second)` gives those of the lanes from value i on.
template <class Vectors, class Scalars>
void sum(const Part& part, Vectors vectors, Scalars scalars, double* first, double* second) {
    std::vector<float> one(part.period), two(part.period);
    for (long start = part.first; start < part.whole(); start += GROUP * part.period) {
        std::fill(one.begin(), one.end(), 0.f);
        std::fill(two.begin(), two.end(), 0.f);
        long end = std::min(start + GROUP * part.period, part.whole());
        for (long place = 0; place < part.period; place += FEWEST * LANES) {
            long width = std::min(FEWEST, (part.period - place) / LANES);
            if (width == FEWEST) {
                Lanes ones[FEWEST] = {}, twos[FEWEST] = {};
                for (long i = start + place; i < end; i += part.period)
                    for (long v = 0; v < FEWEST; v++) vectors(i + v * LANES, place + v * LANES, ones[v], twos[v]);
                for (long v = 0; v < FEWEST; v++) store(&one[place + v * LANES], ones[v]), store(&two[place + v * LANES], twos[v]);
            } else {
                for (long v = 0; v < width; v++) {
                    Lanes ones = {}, twos = {};
                    for (long i = start + place; i < end; i += part.period) vectors(i + v * LANES, place + v * LANES, ones, twos);
                    store(&one[place + v * LANES], ones);
                    store(&two[place + v * LANES], twos);
                }
            }
        }
        for (long place = 0; place < part.period; place++) {
            first[place % part.channels] += one[place];
            second[place % part.channels] += two[place];
        }
    }
    for (long i = part.whole(); i < part.last; i++) scalars(i, (i - part.first) % part.channels, first, second);
}

// to[i] = map of the lanes from value i on, for all values of a part.
template <class Vectors, class Scalars>
void each(const Part& part, Vectors vectors, Scalars scalars) {
    for (long start = part.first; start < part.whole(); start += part.period)
        for (long place = 0; place < part.period; place += LANES) vectors(start + place, place);
    for (long i = part.whole(); i < part.last; i++) scalars(i, (i - part.first) % part.channels);
}

std::vector<float> means_of(const std::vector<double>& sums, long channels, long rows) {
    std::vector<float> means(channels);
    for (long c = 0; c < channels; c++) {
        double all = 0;
        for (size_t at = c; at < sums.size(); at += channels) all += sums[at];
        means[c] = static_cast<float>(all / rows);
    }
    return means;
}

}  // namespace

extern "C" {

// values (rows, channels) -> the same, normalized; also the means, the biased variances and 1 / deviation (channels).
void normalize(const float* values, float* normalized, const float* weight, const float* bias, float* mean, float* variance,
               float* inverse, long rows, long channels, double epsilon, int threads) {
    std::vector<Part> shares = parts(rows, channels, threads);
    long period = period_of(channels);
    std::vector<double> sums(threads * channels), unused(threads * channels);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++)
        sum(
            shares[thread], [&](long i, long, Lanes& one, Lanes&) { one += load(values + i); },
            [&](long i, long c, double* one, double*) { one[c] += values[i]; }, &sums[thread * channels],
            &unused[thread * channels]);
    std::vector<float> means = means_of(sums, channels, rows), center = spread(means, period);
    std::fill(sums.begin(), sums.end(), 0.);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++)
        sum(
            shares[thread],
            [&](long i, long place, Lanes& one, Lanes&) {
                Lanes away = load(values + i) - load(&center[place]);
                one += away * away;
            },
            [&](long i, long c, double* one, double*) { one[c] += (values[i] - means[c]) * (values[i] - means[c]); },
            &sums[thread * channels], &unused[thread * channels]);
    std::vector<float> variances = means_of(sums, channels, rows), scale(channels), shift(channels);
    for (long c = 0; c < channels; c++) {
        mean[c] = means[c], variance[c] = variances[c];
        inverse[c] = static_cast<float>(1 / std::sqrt(variances[c] + epsilon));
        scale[c] = weight[c] * inverse[c];
        shift[c] = bias[c] - means[c] * scale[c];
    }
    std::vector<float> scales = spread(scale, period), shifts = spread(shift, period);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++)
        each(
            shares[thread],
            [&](long i, long place) { store(normalized + i, load(values + i) * load(&scales[place]) + load(&shifts[place])); },
            [&](long i, long c) { normalized[i] = values[i] * scale[c] + shift[c]; });
}

// gradients (rows, channels) of what `normalize` gave -> of the values, the weight and the bias.
void normalize_gradient(const float* values, const float* gradients, float* turned, const float* weight, const float* mean,
                        const float* inverse, float* of_weight, float* of_bias, long rows, long channels, int threads) {
    std::vector<Part> shares = parts(rows, channels, threads);
    long period = period_of(channels);
    std::vector<double> sums(threads * channels), products(threads * channels);
    std::vector<float> means(mean, mean + channels), center = spread(means, period);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++)
        sum(
            shares[thread],
            [&](long i, long place, Lanes& one, Lanes& two) {
                Lanes gradient = load(gradients + i);
                one += gradient;
                two += gradient * (load(values + i) - load(&center[place]));
            },
            [&](long i, long c, double* one, double* two) {
                one[c] += gradients[i];
                two[c] += gradients[i] * (values[i] - means[c]);
            },
            &sums[thread * channels], &products[thread * channels]);
    std::vector<float> all = means_of(sums, channels, rows), away = means_of(products, channels, rows);
    std::vector<float> scale(channels), slope(channels), shift(channels);
    for (long c = 0; c < channels; c++) {
        of_bias[c] = all[c] * rows;
        of_weight[c] = away[c] * inverse[c] * rows;
        scale[c] = weight[c] * inverse[c];
        slope[c] = -scale[c] * inverse[c] * inverse[c] * away[c];
        shift[c] = -scale[c] * all[c] - slope[c] * mean[c];
    }
    std::vector<float> scales = spread(scale, period), slopes = spread(slope, period), shifts = spread(shift, period);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++)
        each(
            shares[thread],
            [&](long i, long place) {
                store(turned + i, load(gradients + i) * load(&scales[place]) + load(values + i) * load(&slopes[place]) +
                                      load(&shifts[place]));
            },
            [&](long i, long c) { turned[i] = gradients[i] * scale[c] + values[i] * slope[c] + shift[c]; });
}
}
