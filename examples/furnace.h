// A simulated electric chamber furnace with a steel charge: the plant that furnace_control.cpp steers.
//
// Temperatures of four lumps, and the heater's power q behind a first-order actuator, driven by a setting u in [0, 1]:
//   lag dq/dt          = u supply P - q
//   C_w dT_w/dt        = q - Q - G_1 (T_w - T_b) - door s A_d (T_w^4 - T_a^4)         heaters and hot face of the lining ("chamber")
//   C_b dT_b/dt        = G_1 (T_w - T_b) - G_2 (T_b - T_a)                            back of the lining, T_a: the hall
//   m c(T_p) dT_p/dt   = Q = s A_p F (T_w^4 - T_p^4) + h A_p (T_w - T_p)              charge ("load")
//   1 / F              = 1 / e + (A_p / A_w) (1 / e_w - 1),   s = 5.67e-8 W/m2K4 (temperatures to the fourth power in kelvin)
// Lumped capacitances and the exchange between a convex body and what encloses it: F. Incropera et al., Fundamentals of Heat and Mass
// Transfer, 7th ed., sections 5.3 and 13.3. c(T) of carbon steel, with the peak of its transformation at 735 C: EN 1993-1-2, 3.4.1.2. The
// sizes below are those of a furnace of half a cubic metre with fibre lining; they are chosen, not measured.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "epitaxy/philox.h"

class Furnace {
 public:
  static constexpr double kInterval = 120;  // s between two readings, and for which a setting holds

  /// What thermocouples say, C.
  struct Reading {
    double load, chamber;
  };

  /// Seed 0: as designed. Others disturb charge, emissivity, mains, lining, weather and residual heat, and open the door once.
  explicit Furnace(std::uint64_t seed) : random_(seed, epitaxy::RandomPurpose::simulate) {
    if (seed == 0) return;
    mass_ = random_.uniform(200, 400);
    emissivity_ = random_.uniform(0.5, 0.9);
    supply_ = random_.uniform(0.88, 1.08);
    lining_ = random_.uniform(0.8, 1.5);
    hall_ = random_.uniform(5, 35);
    door_opens_ = random_.uniform(0, 6 * 3600);
    door_closes_ = door_opens_ + random_.uniform(60, 360);
    load_ = hall_;
    back_ = hall_ + random_.uniform(0, 80), chamber_ = back_;
  }

  /// Holds a setting for an interval (explicit Euler).
  void hold(double setting) {
    constexpr double kStep = 5, kLag = 60, kPower = 75e3, kChamberHeat = 1.2e5, kBackHeat = 4e5, kInside = 25, kOutside = 18;
    constexpr double kWallArea = 6, kWallEmissivity = 0.85, kDoorArea = 0.15, kFilm = 10, kRadiation = 5.67e-8;
    const double area = 2 * std::pow(mass_ / 300, 2.0 / 3);
    const double exchange = area / (1 / emissivity_ + area / kWallArea * (1 / kWallEmissivity - 1));
    for (double end = seconds_ + kInterval; seconds_ < end; seconds_ += kStep) {
      const bool door = door_opens_ <= seconds_ && seconds_ < door_closes_;
      const double to_load = kRadiation * exchange * (fourth(chamber_) - fourth(load_)) + kFilm * area * (chamber_ - load_);
      const double to_back = lining_ * kInside * (chamber_ - back_), to_hall = lining_ * kOutside * (back_ - hall_);
      const double through_door = door ? kRadiation * kDoorArea * (fourth(chamber_) - fourth(hall_)) : 0;
      heater_ += kStep / kLag * (std::clamp(setting, 0.0, 1.0) * supply_ * kPower - heater_);
      chamber_ += kStep / kChamberHeat * (heater_ - to_load - to_back - through_door);
      back_ += kStep / kBackHeat * (to_back - to_hall);
      load_ += kStep / (mass_ * specific_heat(load_)) * to_load;
    }
  }

  /// The charge's true temperature.
  double load() const { return load_; }
  /// With the thermocouples' noise.
  Reading read() { return {load_ + kNoise * random_.normal(), chamber_ + kNoise * random_.normal()}; }

 private:
  static constexpr double kNoise = 1.5;

  static double fourth(double celsius) {
    const double square = (celsius + 273.15) * (celsius + 273.15);
    return square * square;
  }
  /// J/kgK of carbon steel.
  static double specific_heat(double t) {
    if (t < 600) return 425 + 0.773 * t - 1.69e-3 * t * t + 2.22e-6 * t * t * t;
    if (t < 735) return 666 + 13002 / (738 - t);
    if (t < 900) return 545 + 17820 / (t - 731);
    return 650;
  }

  epitaxy::Random random_;
  double mass_ = 300, emissivity_ = 0.75, supply_ = 1, lining_ = 1, hall_ = 20, door_opens_ = 1e9, door_closes_ = 1e9;
  double seconds_ = 0, heater_ = 0, chamber_ = 20, back_ = 20, load_ = 20;
};
